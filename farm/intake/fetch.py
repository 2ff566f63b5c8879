"""Fetching a customer's picture from its URL, without being sent where customers may not go.

Of every hop (the URL and at most a few redirects) the form is checked, the name looked up
once, each address it has checked, and one of those connected to, literally: an answer that
changes a moment later (DNS rebinding) changes nothing. Whatever goes wrong on the way is one
sentence, so that nobody learns from it what listens where.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import httpcore2

from farm.errors import InputUnavailable, TooLarge
from farm.intake.addresses import Address, why_not_public
from farm.intake.lookup import Lookups, NoAddress, Resolve, system_addresses
from farm.intake.urls import (
    FetchPolicy,
    Target,
    UrlRefused,
    check_characters,
    check_url,
    policy_of,
    read_url,
)
from farm.intake.wire import HEADER_BYTES_MAX, CheckedNetwork, Deadline, Dial, dial

__all__ = ["FetchPolicy", "Fetcher", "check_url", "policy_of"]

_log = logging.getLogger(__name__)

_HEADERS = (
    (b"User-Agent", b"media-farm (fetches pictures for its customers)"),
    (b"Accept", b"image/jpeg,image/png,image/webp,*/*;q=0.1"),
    # A picture is compressed already; what unpacks to a thousand times its size is not one.
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({502, 503, 504})
_TRY_AGAIN_AFTER_S = 0.2
_LOGGED_MAX = 200
_EXCESS_WAIT_S = 0.05
_LOOKUPS = Lookups(8)
_NETWORK_ERRORS = (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError)


class _Unfetched(Exception):
    """Why a picture was not fetched, for the log; ``told`` is what the customer may know."""

    def __init__(self, reason: str, told: str = "", passing: bool = False) -> None:
        self.told = told
        self.passing = passing
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class _Moved:
    """The answer of a hop that sends on to another URL, not yet checked."""

    url: str


class Fetcher:
    """Fetches pictures under one policy. Threads may share it.

    ``resolve``, ``connect`` and ``tls`` are the system's; tests bring a network of their own.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        resolve: Resolve = system_addresses,
        connect: Dial = dial,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._connect = connect
        self._tls = tls

    def fetch(self, url: str, field: str) -> bytes:
        """What a URL answers with: at most ``bytes_max`` bytes, within ``timeout_s``.

        Raises:
            InputUnavailable: it could not be fetched. Of a public host the status is told
                when it is not 200; in every other case the sentence is the same.
            TooLarge: the answer is over the limit.
        """
        try:
            return self._follow(url, field, Deadline(self._policy.timeout_s))
        except (_Unfetched, NoAddress, UrlRefused, httpcore2.TimeoutException) as error:
            # Some of it was written by whoever answered.
            _log.info("%s was not fetched: %s", field, str(error)[:_LOGGED_MAX])
            told = error.told if isinstance(error, _Unfetched) else ""
            raise InputUnavailable(
                f"The URL in {field} {told or 'could not be fetched'}. "
                "Check that anybody can open it, and send the request again."
            ) from error

    def _follow(self, url: str, field: str, deadline: Deadline) -> bytes:
        """The answer to a URL, or to what it redirects to."""
        secure = False
        for _ in range(self._policy.redirects_max + 1):
            target = read_url(url, self._policy.allow)
            if secure and target.scheme != "https":
                raise _Unfetched(f"{target.authority}: redirected there from https to http")
            secure = target.scheme == "https"
            addresses = _LOOKUPS.addresses(target, self._policy.allow, self._resolve, deadline)
            found = self._get(target, addresses, field, deadline)
            if isinstance(found, bytes):
                return found
            url = found.url
        raise _Unfetched(f"{target.authority}: more than {self._policy.redirects_max} redirects")

    def _get(
        self, target: Target, addresses: Sequence[Address], field: str, deadline: Deadline
    ) -> bytes | _Moved:
        """One hop, tried again once when nobody answered or the answer was a passing error."""
        try:
            return self._ask(target, addresses, field, deadline)
        except _Unfetched as error:
            if not error.passing:
                raise
            _log.debug("it is tried again: %s", error)
        time.sleep(min(_TRY_AGAIN_AFTER_S, deadline.left_s()))
        return self._ask(target, addresses, field, deadline)

    def _ask(
        self, target: Target, addresses: Sequence[Address], field: str, deadline: Deadline
    ) -> bytes | _Moved:
        """One request on a connection of its own."""
        network = CheckedNetwork(addresses, deadline, self._connect)
        url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        headers = [(b"Host", target.authority.encode("ascii")), *_HEADERS]
        connection = httpcore2.HTTPConnection(
            url.origin, self._context(target), network_backend=network
        )
        try:
            response = connection.handle_request(httpcore2.Request("GET", url, headers=headers))
            return self._read(response, network, target, field)
        except _NETWORK_ERRORS as error:
            is_passing = isinstance(error, httpcore2.ConnectError | httpcore2.ConnectTimeout)
            reason = f"{target.authority}: {type(error).__name__}: {error}"
            raise _Unfetched(reason, passing=is_passing) from error
        finally:
            connection.close()
            network.close()

    def _context(self, target: Target) -> ssl.SSLContext | None:
        """The certificates to trust, read when the first https URL comes."""
        if target.scheme == "https" and self._tls is None:
            self._tls = httpcore2.default_ssl_context()
        return self._tls

    def _read(
        self, response: httpcore2.Response, network: CheckedNetwork, target: Target, field: str
    ) -> bytes | _Moved:
        """The body of an answer, or where it sends. Raises _Unfetched, TooLarge."""
        assert network.address is not None, "somebody has answered"
        assert network.stream is not None, "somebody has answered"
        if response.status in _REDIRECTS:
            return _Moved(_location(response, target))
        if response.status != 200:
            is_public = why_not_public(network.address) is None
            raise _Unfetched(
                f"{target.authority}: answered {response.status}",
                told=f"answered with status {response.status}" if is_public else "",
                passing=response.status in _PASSING,
            )
        limit = self._policy.bytes_max
        length = _length(response, target)
        if length is not None and length > limit:
            raise TooLarge(limit, field)
        # What frames a chunk may take as much room again, and no more.
        network.stream.admit(length if length is not None else 2 * limit + HEADER_BYTES_MAX)
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(limit, field)
        if length is not None and network.stream.has_more(_EXCESS_WAIT_S):
            raise _Unfetched(f"{target.authority}: sent more than its Content-Length")
        return bytes(body)


def _location(response: httpcore2.Response, target: Target) -> str:
    """The URL that a redirect names, made whole. It is not checked yet. Raises _Unfetched."""
    found = _values(response, b"location")
    try:
        [location] = (value.decode("utf-8") for value in found)
        # Before joining, which would quietly drop some of what is refused.
        check_characters(location)
        return urljoin(target.url, location)
    except ValueError as error:
        raise _Unfetched(f"{target.authority}: redirected to what is no URL") from error


def _length(response: httpcore2.Response, target: Target) -> int | None:
    """The length that the header tells, in bytes; None where the body is chunked or just ends.

    Raises:
        _Unfetched: the body is compressed, or framed in two ways (RFC 9112, 6.3).
    """
    encodings = _values(response, b"content-encoding")
    if any(encoding.lower() not in (b"", b"identity") for encoding in encodings):
        raise _Unfetched(f"{target.authority}: answered compressed")
    lengths = _values(response, b"content-length")
    if not lengths:
        return None
    if len(lengths) > 1 or _values(response, b"transfer-encoding"):
        raise _Unfetched(f"{target.authority}: told the length in two ways")
    return int(lengths[0])


def _values(response: httpcore2.Response, name: bytes) -> list[bytes]:
    return [value for key, value in response.headers if key.lower() == name]
