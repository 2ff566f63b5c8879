"""A TCP proxy whose connections a test may slow, cut, refuse, swallow, or cut at a request.

It stands between the farm's processes and PostgreSQL, Redis or RabbitMQ, listening on loopback.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Self

_CHUNK = 1 << 16
_CONNECT_S = 5.0

Target = Path | tuple[str, int]
"""A unix socket, or a host and a port."""


class Mode(StrEnum):
    """What becomes of connections."""

    OPEN = "open"
    REFUSING = "refusing"
    """New ones are reset at once."""
    SILENT = "silent"
    """They stay, and whatever is sent either way is swallowed: as when a cable is pulled."""


class Proxy:
    """Listens from ``__enter__`` to ``__exit__``; every method may be called by any thread."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self.mode = Mode.OPEN
        self.latency_s = 0.0
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._cut_at: bytes | None = None
        self._cut_after = b""
        self.was_cut = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mode = Mode.REFUSING
        # Wakes the thread that waits in accept(), which closing alone would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                _reset(end)
        return len(pairs)

    def refuse(self) -> None:
        """Be away: reset what there is, and whatever comes."""
        self.mode = Mode.REFUSING
        self.cut()

    def silence(self) -> None:
        """Swallow everything from now on, and cut nothing."""
        self.mode = Mode.SILENT

    def heal(self) -> None:
        """Work again. What was swallowed stays lost: connections that were silent are cut, as the
        other end of a cable that was pulled for long has forgotten them."""
        was, self.mode = self.mode, Mode.OPEN
        if was is Mode.SILENT:
            self.cut()

    def cut_at(self, request: bytes | None, *, after: bytes = b"") -> None:
        """Pass the next request that holds these bytes on to the server, let it be done, and cut
        the connection before the answer gets through. ``was_cut`` is set then.

        Args:
            request: None cuts nothing any more.
            after: only on a connection on which these bytes have passed since this call: so one
                ``COMMIT`` is told from another.
        """
        self.was_cut.clear()
        self._cut_at, self._cut_after = request, after

    @contextlib.contextmanager
    def away(self, seconds: float) -> Iterator[None]:
        """Refuse for so long, at least as long as the block takes; work again afterwards."""
        until = time.monotonic() + seconds
        self.refuse()
        try:
            yield
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            self.heal()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode is Mode.REFUSING:
                _reset(client)
                continue
            try:
                server = self._connect()
            except OSError:
                _reset(client)
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for source, sink, upward in ((client, server, True), (server, client, False)):
                threading.Thread(
                    target=self._pump, args=(pair, source, sink, upward), daemon=True
                ).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, Path):
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.settimeout(_CONNECT_S)
            try:
                server.connect(str(self._target))
            except OSError:
                server.close()
                raise
        else:
            server = socket.create_connection(self._target, _CONNECT_S)
        server.settimeout(None)
        return server

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        sink: socket.socket,
        upward: bool,
    ) -> None:
        seen = b""
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.latency_s:
                    time.sleep(self.latency_s)
                if self.mode is Mode.SILENT:
                    continue
                if upward and (wanted := self._cut_at) is not None:
                    if self._cut_after and self._cut_after in data:
                        seen = self._cut_after
                    if wanted in data and seen == self._cut_after:
                        self._cut_at = None
                        self._deliver_and_cut(pair, data)
                        return
                sink.sendall(data)
        self._drop(pair)

    def _deliver_and_cut(self, pair: tuple[socket.socket, socket.socket], data: bytes) -> None:
        client, server = pair
        # The client's end goes first: whatever the server answers has no way back.
        with self._lock:
            self._pairs.discard(pair)
        _reset(client)
        with contextlib.suppress(OSError):
            server.sendall(data)
            server.settimeout(_CONNECT_S)
            # It is being answered: by then the request has been done.
            server.recv(_CHUNK)
        _reset(server)
        self.was_cut.set()

    def _drop(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            _reset(end)


def _reset(end: socket.socket) -> None:
    """Close with a reset, so that the other side notices at once; twice is harmless."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    # Another thread may wait in recv() on it; closing alone would leave it there.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
