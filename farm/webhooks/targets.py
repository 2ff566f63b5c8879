"""Where a webhook may go: the rules of a picture's URL, and https besides."""

from __future__ import annotations

from farm.errors import FieldError, InvalidRequest
from farm.intake.addresses import Trust
from farm.intake.urls import FetchPolicy, Target, UrlRefused, read_url

_NOT_HTTPS = "must start with https://: what it is told would travel readable to everybody."


def check_target(url: str, field: str, policy: FetchPolicy) -> str:
    """The URL written anew, when its form is one that a webhook may go to. Asks no network.

    Raises:
        InvalidRequest: it is malformed, too long, can be read in two ways, plainly leads
            inside, or is not https and its host is none that the operator vouches for.
    """
    try:
        return read_target(url, policy.allow).url
    except UrlRefused as error:
        raise InvalidRequest([FieldError(field, str(error))]) from error


def read_target(url: str, trusts: frozenset[Trust]) -> Target:
    """Take a webhook's URL apart. Raises UrlRefused saying what to change."""
    target = read_url(url, trusts)
    if target.scheme != "https" and not any(_covers(trust, target) for trust in trusts):
        raise UrlRefused(_NOT_HTTPS)
    return target


def _covers(trust: Trust, target: Target) -> bool:
    if target.address is not None:
        return trust.covers_address(target.address, target.port)
    return trust.covers_name(target.host, target.port)
