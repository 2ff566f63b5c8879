"""The connection a picture is fetched over: to checked addresses only, and bounded.

httpcore is handed a network in which every host lies at the addresses that were checked, and
where all reading and writing together ends by one deadline. It verifies a TLS certificate
against the URL's name, and never looks a name up.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore2

from farm.intake.addresses import Address

HEADER_BYTES_MAX = 64 * 1024
"""Of one answer, the interim ones before it included."""

_CHUNK_BYTES = 64 * 1024

Dial = Callable[[str, int, float], httpcore2.NetworkStream]
"""Connects to (address, port) within seconds. Raises ConnectError, ConnectTimeout."""


def dial(address: str, port: int, timeout_s: float) -> httpcore2.NetworkStream:
    """A plain TCP connection to a numeric address."""
    return httpcore2.SyncBackend().connect_tcp(address, port, timeout_s)


class Deadline:
    """The moment at which all of one fetch must be over."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds left, more than 0. Raises httpcore2.TimeoutException when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for the whole fetch is over")
        return left

    def shorten(self, seconds: float) -> None:
        """Leave at most so many seconds from now."""
        self._at = min(self._at, time.monotonic() + seconds)


class CheckedNetwork(httpcore2.NetworkBackend):
    """A network of one host, for one request. Not safe to share between threads.

    ``address`` is the one that answered, ``stream`` the connection to it, once there is one.
    """

    def __init__(self, addresses: Sequence[Address], deadline: Deadline, connect: Dial) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._connect = connect
        self.address: Address | None = None
        self.stream: BoundedStream | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address that takes the connection; the name plays no part.

        Each gets its share of the time that is left, so that one that hangs leaves some.
        """
        failure: Exception | None = None
        for tried, address in enumerate(self._addresses):
            share_s = self._deadline.left_s() / (len(self._addresses) - tried)
            try:
                plain = self._connect(str(address), port, share_s)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
                continue
            self.address = address
            return self._bounded(plain)
        raise httpcore2.ConnectError("no address took the connection") from failure

    def close(self) -> None:
        """Hang up, however far it came."""
        if self.stream is not None:
            self.stream.close()

    def _bounded(self, inner: httpcore2.NetworkStream) -> BoundedStream:
        self.stream = BoundedStream(inner, self._deadline, self._bounded)
        return self.stream


class BoundedStream(httpcore2.NetworkStream):
    """A connection whose reads and writes end by a deadline and after so many bytes.

    Until :meth:`admit` is called it gives out one line at a time, so that nothing of the body
    is swallowed with the header; afterwards as many bytes as were admitted and no more.
    """

    def __init__(
        self,
        inner: httpcore2.NetworkStream,
        deadline: Deadline,
        secured: Callable[[httpcore2.NetworkStream], BoundedStream],
    ) -> None:
        self._inner = inner
        self._deadline = deadline
        self._secured = secured
        self._room = HEADER_BYTES_MAX
        self._by_line = True
        self._held = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes, or none at the end. Raises ReadError past the bound."""
        if self._room <= 0:
            raise httpcore2.ReadError("more bytes than are admitted")
        if not self._held:
            self._held = self._inner.read(_CHUNK_BYTES, self._deadline.left_s())
        size = min(max_bytes, self._room)
        if self._by_line and (end := self._held.find(b"\n")) >= 0:
            size = min(size, end + 1)
        given, self._held = self._held[:size], self._held[size:]
        self._room -= len(given)
        return given

    def admit(self, size: int) -> None:
        """The header is over: give out at most so many bytes from here on."""
        self._by_line = False
        self._room = size

    def has_more(self, wait_s: float) -> bool:
        """True when bytes lie behind those admitted, or come within a moment."""
        if self._held:
            return True
        try:
            return bool(self._inner.read(1, min(wait_s, self._deadline.left_s())))
        except (httpcore2.TimeoutException, httpcore2.ReadError):
            return False

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it before the deadline."""
        self._inner.write(buffer, self._deadline.left_s())

    def close(self) -> None:
        """Hang up."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """The same connection, secured; the handshake ends by the deadline too."""
        return self._secured(
            self._inner.start_tls(ssl_context, server_hostname, self._deadline.left_s())
        )

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks a connection about itself."""
        return self._inner.get_extra_info(info)
