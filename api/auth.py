"""Who calls: Bearer keys, and what each route asks for before it runs."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from api.limits import ADDRESS_PER_MINUTE, FILES_PER_MINUTE, PROBES_PER_MINUTE, READ_LEASE
from api.rates import Rate
from api.request import FarmRequest
from api.runtime import Runtime
from farm.catalog import Storefront
from farm.errors import FarmError, Forbidden, NotFound, RateLimited, Unauthenticated
from farm.types import Principal

_DEFAULT_AGENTS = ("Python-urllib/", "python-requests/", "Go-http-client")
_POLICY = "farm_policy"

View = TypeVar("View", bound=Callable[..., Any])


class Access(enum.Enum):
    """What a route asks of its caller, and which limit counts the call."""

    SUBMIT = "submit"
    """A key; counted by the plan's submits a minute, for the account."""
    READ = "read"
    """A key; counted by the storefront's reads a minute, for the key."""
    PUBLIC = "public"
    """A key is welcome; without one the address is counted."""
    FILE = "file"
    """A signed URL; the address is counted."""
    OPEN = "open"
    """Nothing; the address is counted."""
    PROBE = "probe"
    """Nothing; counted apart, so that no stranger's calls make a health check fail."""


_ANY_ADDRESS = ("a", ADDRESS_PER_MINUTE)
_ADDRESS_LIMITS = {
    Access.FILE: ("f", FILES_PER_MINUTE),
    Access.PROBE: ("p", PROBES_PER_MINUTE),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A route's access, and whose keys open it (empty: any storefront's)."""

    access: Access
    storefront: str = ""

    @property
    def is_api(self) -> bool:
        """True for a storefront's own paths."""
        return self.access in (Access.SUBMIT, Access.READ, Access.PUBLIC)


UNKNOWN = Policy(Access.OPEN)


def needs(access: Access, storefront: str = "") -> Callable[[View], View]:
    """Declare what a view asks for. A view without a declaration stops the start."""

    def declare(view: View) -> View:
        setattr(view, _POLICY, Policy(access, storefront))
        return view

    return declare


def policy_of(view: Callable[..., Any]) -> Policy | None:
    """What the view was declared with, or None."""
    return getattr(view, _POLICY, None)


class Gatekeeper:
    """Looks at every request first: who calls, whose count it goes to, whether it may pass.

    Args:
        served: the storefronts that are on.
    """

    def __init__(self, runtime: Runtime, served: Collection[str]) -> None:
        self._runtime = runtime
        self._served = served
        self._shops = runtime.services.catalog.storefronts
        self._refuse_agents = runtime.settings.refuse_default_user_agents

    def identify(self, request: FarmRequest, policy: Policy) -> None:
        """Set the request's ``principal``, ``bucket`` and ``per_minute``, or its ``refusal``.

        A caller who is refused is counted too, by address: that is what stops whoever guesses
        keys. So the refusal is raised by the application after the count, not here.
        """
        try:
            if request.front and policy.storefront not in ("", request.front):
                raise NotFound(f"There is nothing at {request.asked_path[:200]}. See /docs.")
            if self._refuse_agents and policy.is_api:
                _check_agent(request.environ.get("HTTP_USER_AGENT", ""))
            request.principal = self._principal(request, policy)
        except FarmError as error:
            request.refusal = error
        if request.principal is None:
            kind, request.per_minute = _ADDRESS_LIMITS.get(policy.access, _ANY_ADDRESS)
            request.bucket = f"{kind}:{address_group(request.remote_addr or '')}"
            return
        caller = request.principal
        shop = self._shops[caller.storefront]
        if policy.access is Access.SUBMIT:
            request.bucket = f"s:{caller.account_id}"
            request.per_minute = shop.plans[caller.plan].submits_per_minute
        else:
            request.bucket = f"r:{caller.key_id}"
            request.per_minute = shop.reads_per_minute
            request.calls = READ_LEASE

    def _principal(self, request: FarmRequest, policy: Policy) -> Principal | None:
        if not policy.is_api:
            return None
        if policy.access is Access.PUBLIC and "HTTP_AUTHORIZATION" not in request.environ:
            return None
        key = bearer_key(request)
        if policy.storefront or request.front:
            return self._runtime.keys.authenticate(key, policy.storefront or request.front)
        caller = self._authenticate_anywhere(request, key)
        if caller.storefront not in self._served:
            raise Forbidden(
                f"This account is one of {caller.storefront}, which is not served here at the "
                "moment. Contact support."
            )
        return caller

    def _authenticate_anywhere(self, request: FarmRequest, key: str) -> Principal:
        """Paths that storefronts share take each one's keys; prefixes may be shared as well."""
        fitting = [s.id for s in self._shops.values() if key.startswith(s.key_prefix)]
        for storefront in fitting[:-1]:
            try:
                return self._authenticate(request, key, storefront)
            except Unauthenticated:
                continue
        last = fitting[-1] if fitting else next(iter(self._shops))
        return self._authenticate(request, key, last)

    def _authenticate(self, request: FarmRequest, key: str, storefront: str) -> Principal:
        try:
            return self._runtime.keys.authenticate(key, storefront)
        except Forbidden:
            request.known_as = storefront
            raise


def over_limit(
    request: FarmRequest, rate: Rate, pricing_url: str, shops: Mapping[str, Storefront]
) -> RateLimited:
    """What a caller over its limit is told: to upgrade, where another plan allows more."""
    caller = request.principal
    if caller is None:
        sentence = (
            f"Rate limit exceeded: {rate.limit} requests a minute without a key. "
            f"Wait {rate.retry_after_s} s, or send a valid API key."
        )
    elif request.bucket.startswith("s:"):
        most = max(plan.submits_per_minute for plan in shops[caller.storefront].plans.values())
        way_out = f"Upgrade at {pricing_url}/pricing"
        if rate.limit >= most:
            way_out = f"{rate.limit} a minute. Wait {rate.retry_after_s} s."
        sentence = f"Rate limit exceeded for {caller.plan} plan. {way_out}"
    else:
        sentence = (
            f"Rate limit exceeded for reads: {rate.limit} a minute for each key, on every plan. "
            f"Wait {rate.retry_after_s} s."
        )
    return RateLimited(sentence, rate.retry_after_s)


def bearer_key(request: FarmRequest) -> str:
    """The key of the Authorization header. Raises Unauthenticated, saying how to send it."""
    header = request.environ.get("HTTP_AUTHORIZATION")
    if header is None:
        if "HTTP_X_API_KEY" in request.environ:
            raise Unauthenticated(
                "X-API-Key is not accepted. Send the key as `Authorization: Bearer <key>`."
            )
        raise Unauthenticated("No API key. Send it as `Authorization: Bearer <key>`.")
    scheme, _, key = header.partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated(
            "The Authorization header cannot be read. Send `Authorization: Bearer <key>`."
        )
    return str(key.strip())


def address_group(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 customer gets."""
    if ":" not in address:
        return address or "local"
    try:
        network = ipaddress.ip_network((address.partition("%")[0], 64), strict=False)
    except ValueError:
        return "unreadable"
    return str(network.network_address)


def _check_agent(agent: str) -> None:
    if not agent.strip() or agent.startswith(_DEFAULT_AGENTS):
        raise Forbidden(
            "Set a User-Agent that names your application: requests with an empty one or a "
            "library's default are refused here."
        )
