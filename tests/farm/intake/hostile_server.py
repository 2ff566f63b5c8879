"""A web server that misbehaves on request, a socket nobody may connect to, and a small internet.

``HostileServer`` listens on 127.0.0.1; the path says what it does (see ``_BEHAVIOURS``).
``Trap`` is an internal service that must never be reached. ``Network`` gives a fetcher names
and public addresses that lead to such a server.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import httpcore2

PICTURE = bytes(range(256)) * 40
"""What ``/picture`` answers where nothing else was given."""

_LONGEST_S = 30.0
_DRIP_S = 0.05
_BLOCK = b"x" * 65_536
_TLS_HANDSHAKE = b"\x16"


class Talk:
    """One connection, as a behaviour sees it: the request read, the answer its own."""

    def __init__(self, connection: socket.socket, request: bytes, stopped: threading.Event) -> None:
        self.request = request
        self.path = request.split(b" ", 2)[1].decode("ascii")
        self._connection = connection
        self._stopped = stopped
        self._until = time.monotonic() + _LONGEST_S

    def send(self, *parts: bytes) -> None:
        """Send at once. Raises OSError once the other side has hung up."""
        self._connection.sendall(b"".join(parts))

    def answer(self, status: str, body: bytes = b"", *headers: str) -> None:
        """A well-formed answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.send("\r\n".join([*lines, "", ""]).encode("utf-8"), body)

    def goes_on(self, wait_s: float = 0.0) -> bool:
        """Wait; False once the server stops or the longest time is over."""
        return not self._stopped.wait(wait_s) and time.monotonic() < self._until

    def drip(self, first: bytes, data: Iterable[int]) -> None:
        """Send byte after byte with a pause before each."""
        self.send(first)
        for byte in data:
            if not self.goes_on(_DRIP_S):
                return
            self.send(bytes([byte]))

    def repeat(self, first: bytes, block: bytes) -> None:
        """Send the same again and again."""
        self.send(first)
        while self.goes_on():
            self.send(block)

    def reset(self) -> None:
        """Hang up the hard way."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"


def _zipped(talk: Talk) -> None:
    talk.answer("200 OK", gzip.compress(bytes(16 << 20)), "Content-Encoding: gzip")


def _hang(talk: Talk) -> None:
    while talk.goes_on(_DRIP_S):
        pass


def _huge_header(talk: Talk) -> None:
    talk.send(_OK, b"X-Long: ", _BLOCK * 4, b"\r\n\r\n")


_BEHAVIOURS: Mapping[str, Callable[[Talk], None]] = {
    "/chunked": lambda talk: talk.send(_CHUNKED, b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"),
    "/until-close": lambda talk: talk.send(_OK, b"\r\n", b"until it closes"),
    "/interim": lambda talk: talk.send(
        b"HTTP/1.1 103 Early Hints\r\n\r\n", _OK, b"Content-Length: 2\r\n\r\nok"
    ),
    # Slow, or without an end.
    "/hang": _hang,
    "/drip-header": lambda talk: talk.drip(_OK + b"X-Slow: ", b"y" * 1000),
    "/drip-body": lambda talk: talk.drip(_OK + b"Content-Length: 1000\r\n\r\n", bytes(1000)),
    "/drip-chunks": lambda talk: talk.drip(_CHUNKED, b"1\r\nx\r\n" * 200),
    "/endless": lambda talk: talk.repeat(_OK + b"\r\n", _BLOCK),
    "/endless-chunks": lambda talk: talk.repeat(_CHUNKED, b"10000\r\n" + _BLOCK + b"\r\n"),
    "/endless-chunk-framing": lambda talk: talk.repeat(
        _CHUNKED, b"1;" + b"z" * 4000 + b"\r\nx\r\n"
    ),
    "/endless-header": lambda talk: talk.repeat(_OK, b"X-More: yes\r\n"),
    "/endless-interim": lambda talk: talk.repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    # Large.
    "/huge-header": _huge_header,
    "/told-too-large": lambda talk: talk.send(_OK, b"Content-Length: 99999999999\r\n\r\n"),
    "/zipped": _zipped,
    "/zipped-transfer": lambda talk: talk.send(
        _OK, b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    ),
    # Wrong.
    "/short": lambda talk: talk.send(_OK, b"Content-Length: 100\r\n\r\n", bytes(50)),
    "/short-chunks": lambda talk: talk.send(_CHUNKED, b"64\r\n", bytes(50)),
    "/long": lambda talk: talk.send(_OK, b"Content-Length: 50\r\n\r\n", bytes(100)),
    "/two-lengths": lambda talk: talk.send(
        _OK, b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nbytes!"
    ),
    "/two-framings": lambda talk: talk.send(
        _OK, b"Content-Length: 11\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    ),
    "/negative-length": lambda talk: talk.send(_OK, b"Content-Length: -1\r\n\r\nx"),
    "/worded-length": lambda talk: talk.send(_OK, b"Content-Length: many\r\n\r\nx"),
    "/close": lambda talk: None,
    "/reset": lambda talk: talk.reset(),
    "/other-protocol": lambda talk: talk.send(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "/no-header": lambda talk: talk.send(PICTURE),
    "/upgrade": lambda talk: talk.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n"
    ),
    "/redirect-nowhere": lambda talk: talk.answer("302 Found"),
    "/redirect-twice": lambda talk: talk.answer("302 Found", b"", "Location: /", "Location: /x"),
    "/loop": lambda talk: talk.answer("302 Found", b"", "Location: /loop"),
    "/cookie": lambda talk: talk.answer(
        "302 Found", b"", "Set-Cookie: crumb=1; Path=/", "Location: /picture"
    ),
}

NEVER_A_PICTURE = (
    "/hang",
    "/drip-header",
    "/drip-body",
    "/drip-chunks",
    "/endless-chunk-framing",
    "/endless-header",
    "/endless-interim",
    "/huge-header",
    "/zipped",
    "/zipped-transfer",
    "/short",
    "/short-chunks",
    "/long",
    "/two-lengths",
    "/two-framings",
    "/negative-length",
    "/worded-length",
    "/close",
    "/reset",
    "/other-protocol",
    "/no-header",
    "/upgrade",
    "/redirect-nowhere",
    "/redirect-twice",
    "/loop",
    "/hops/4",
    "/status/404",
    "/status/500",
    "/status/503",
    "/status/204",
    "/status/206",
    "/status/304",
    "/status/401",
    "/status/407",
)
"""Paths whose answer is a failure like every other."""

ALWAYS_TOO_LARGE = ("/endless", "/endless-chunks", "/told-too-large")


class HostileServer:
    """Answers on a port of 127.0.0.1 until the ``with`` block ends; ``pictures`` by path.

    Besides the paths in ``_BEHAVIOURS``: ``/redirect/<quoted URL>``, ``/status/<number>``,
    ``/hops/<n>`` (so many redirects before the picture) and ``/flaky/<n>`` (so many 503
    before it). Without a certificate it drips a handshake at whoever begins one. ``seen`` are
    the requests, header included.
    """

    def __init__(
        self, pictures: Mapping[str, bytes] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.pictures = {"/picture": PICTURE, **(pictures or {})}
        self.seen: list[bytes] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._stopped = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._failures: Counter[str] = Counter()
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._listener.settimeout(0.01)
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        for connection in list(self._open):
            # Wakes whoever sends or reads; it may have been closed by the other side before.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
            assert not thread.is_alive(), "a connection of the test server did not end"
        self._listener.close()

    @property
    def trust(self) -> str:
        """The server as ``FARM_FETCH_ALLOW`` names it."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """A URL of this server; http, or https where it has a certificate."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [request.split(b" ", 2)[1].decode("ascii") for request in self.seen]

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._open.add(connection)
            self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, plain: socket.socket) -> None:
        # Whoever hangs up on a hostile server does the right thing.
        with contextlib.suppress(OSError), plain:
            plain.settimeout(_LONGEST_S)
            if self._tls is None:
                self._talk(plain)
                return
            with self._tls.wrap_socket(plain, server_side=True) as secured:
                self._talk(secured)
        self._open.discard(plain)

    def _talk(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(65_536)
            if not more:
                return
            request += more
            if request.startswith(_TLS_HANDSHAKE):
                # A record of 16 KiB that takes longer than anybody waits.
                record = b"\x16\x03\x03\x40\x00"
                Talk(connection, b"GET / -", self._stopped).drip(record, bytes(16_384))
                return
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.M)
        while length and len(body) < int(length[1]) and (more := connection.recv(65_536)):
            # Left unread, it would make the system reset the connection, answer and all.
            body += more
        self.seen.append(request)
        self._answer(Talk(connection, request, self._stopped))

    def _answer(self, talk: Talk) -> None:
        path = talk.path
        kind, _, rest = path.lstrip("/").partition("/")
        if path in self.pictures:
            talk.answer("200 OK", self.pictures[path], "Content-Type: image/png")
        elif path in _BEHAVIOURS:
            _BEHAVIOURS[path](talk)
        elif kind == "redirect":
            talk.answer("302 Found", b"", f"Location: {unquote(rest)}")
        elif kind == "status":
            talk.answer(f"{rest} As asked", b"not a picture")
        elif kind == "hops":
            to = f"/hops/{int(rest) - 1}" if int(rest) > 1 else "/picture"
            talk.answer("302 Found", b"", f"Location: {to}")
        elif kind == "flaky" and self._failures[path] < int(rest):
            self._failures[path] += 1
            talk.answer("503 Service Unavailable")
        elif kind == "flaky":
            talk.answer("200 OK", PICTURE)
        else:
            talk.answer("404 Not Found")


class Trap:
    """An internal service: it listens on 127.0.0.1 and, where there is one, on ::1."""

    def __init__(self) -> None:
        four = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(four.getsockname()[1])
        self._listeners = [four]
        # A machine without IPv6, or with somebody on that port, is trapped by IPv4 alone.
        with contextlib.suppress(OSError):
            self._listeners.append(
                socket.create_server(("::1", self.port), family=socket.AF_INET6, backlog=128)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for listener in self._listeners:
            listener.close()

    def connections(self) -> int:
        """How many connections were made to it since it was last asked."""
        found = 0
        for listener in self._listeners:
            # The kernel has taken them already: nothing needs to be waited for.
            listener.setblocking(False)
            while True:
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    break
                connection.close()
                found += 1
        return found


@dataclass
class Network:
    """Names, and public addresses that lead to local ports; notes who was asked for what.

    ``names`` gives for each name its answers, one a lookup, the last one for ever. What is
    not among ``public`` cannot be connected to.
    """

    names: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    public: Mapping[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """The next answer for a name. Raises OSError where there is none."""
        answers = self.names.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.asked.append(host)
        return answers[min(self.asked.count(host), len(answers)) - 1]

    def connect(self, address: str, port: int, timeout_s: float) -> httpcore2.NetworkStream:
        """A real connection to the local port behind a public address."""
        self.dialled.append(address)
        if address not in self.public:
            raise httpcore2.ConnectError("refused")
        return httpcore2.SyncBackend().connect_tcp("127.0.0.1", self.public[address], timeout_s)
