"""One try over the network: a POST to a host that a customer chose, and what it answered.

The host is looked up once, every address checked and one of those connected to, as for the
pictures of customers' URLs (:mod:`farm.intake`). Redirects are not followed, of the answer's
body a few KiB are read and dropped, and one deadline ends whatever goes on.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpcore2

from farm.intake.addresses import Address
from farm.intake.lookup import Lookups, NoAddress, Resolve, system_addresses
from farm.intake.urls import FetchPolicy, Target, UrlRefused
from farm.intake.wire import CheckedNetwork, Deadline, Dial, dial
from farm.webhooks.targets import read_target

TIMEOUT_S = 10.0
"""Over all of one try, looking the name up included."""
AGENT = "media-farm (webhooks; standardwebhooks.com)"

_BODY_MAX = 4096
_BODY_S = 1.0
_LOGGED_MAX = 200
_LOOKUPS = 64
_NETWORK_ERRORS = (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError)

# What the customer's log says. Nothing in it tells what listens inside.
_NOT_FOUND = "The host was not found, or is not public."
_NO_CONNECTION = "No connection, or no valid certificate."
_TOO_LATE = "No answer in time."
_UNREADABLE = "The answer could not be read."
_REDIRECTED = "Answered with a redirect, which is not followed."


@dataclass(frozen=True, slots=True)
class Try:
    """What one try came to: the status where somebody answered, else a sentence."""

    status: int | None
    error: str | None
    milliseconds: int

    @property
    def arrived(self) -> bool:
        """True for a 2xx: only that says that the message was taken."""
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Posts messages under one policy. Threads may share it.

    ``resolve``, ``connect`` and ``tls`` are the system's; tests bring a network of their own.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve = system_addresses,
        connect: Dial = dial,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._trusts = policy.allow
        self._timeout_s = timeout_s
        self._resolve = resolve
        self._connect = connect
        self._tls = tls
        self._lookups = Lookups(_LOOKUPS)

    def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Try:
        """Send one message. Never raises for whatever the other side does."""
        started = time.monotonic()
        status: int | None = None
        try:
            status = self._post(url, headers, body, Deadline(self._timeout_s))
            error = _REDIRECTED if 300 <= status < 400 else None
        except UrlRefused as refusal:
            error = f"The URL {refusal}"
        except (NoAddress, *_NETWORK_ERRORS) as failure:
            _log.info("a webhook was not taken: %s", str(failure)[:_LOGGED_MAX])
            error = _sentence(failure)
        return Try(status, error, round((time.monotonic() - started) * 1000))

    def _post(
        self, url: str, headers: Sequence[tuple[str, str]], body: bytes, deadline: Deadline
    ) -> int:
        target = read_target(url, self._trusts)
        addresses = self._lookups.addresses(target, self._trusts, self._resolve, deadline)
        return self._ask(target, addresses, _request(target, headers, body), deadline)

    def _ask(
        self,
        target: Target,
        addresses: Sequence[Address],
        request: httpcore2.Request,
        deadline: Deadline,
    ) -> int:
        """The status that a request on a connection of its own is answered with."""
        network = CheckedNetwork(addresses, deadline, self._connect)
        connection = httpcore2.HTTPConnection(
            request.url.origin, self._context(target), network_backend=network
        )
        try:
            response = connection.handle_request(request)
            _drop_body(response, network, deadline)
            return response.status
        finally:
            connection.close()
            network.close()

    def _context(self, target: Target) -> ssl.SSLContext | None:
        """The certificates to trust, read when the first https URL comes."""
        if target.scheme == "https" and self._tls is None:
            self._tls = httpcore2.default_ssl_context()
        return self._tls


def _request(target: Target, headers: Sequence[tuple[str, str]], body: bytes) -> httpcore2.Request:
    url = httpcore2.URL(
        scheme=target.scheme, host=target.host, port=target.port, target=target.path
    )
    lines = [
        ("Host", target.authority),
        ("User-Agent", AGENT),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
        *headers,
    ]
    encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in lines]
    return httpcore2.Request("POST", url, headers=encoded, content=body)


def _drop_body(response: httpcore2.Response, network: CheckedNetwork, deadline: Deadline) -> None:
    """Read the little that most receivers answer, so that none sees its answer cut off.

    The status has come and is all that counts: a body that is long, slow or broken off is
    left where it is.
    """
    assert network.stream is not None, "somebody has answered"
    network.stream.admit(_BODY_MAX)
    deadline.shorten(_BODY_S)
    with contextlib.suppress(*_NETWORK_ERRORS):
        for _ in response.iter_stream():
            pass


def _sentence(failure: Exception) -> str:
    if isinstance(failure, NoAddress):
        return _NOT_FOUND
    if isinstance(failure, httpcore2.TimeoutException):
        return _TOO_LATE
    return _NO_CONNECTION if isinstance(failure, httpcore2.ConnectError) else _UNREADABLE


_log = logging.getLogger(__name__)
