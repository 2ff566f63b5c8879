"""Taking a client's connection off its thread.

Under gunicorn a response may take the connection itself (``gunicorn.socket``, which servers
of WebSockets use as well): the file descriptor is doubled for the room, and what gunicorn
holds becomes one end of a socket whose other end is closed, so that nothing gunicorn does to
it afterwards reaches the client. StopIteration tells gunicorn that there is nothing to write.
Under any other server, or over TLS that Python itself speaks, the thread stays and passes on
what the room sends.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import ssl
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response

from api.waiting.guests import EVENT_STREAM, JSON, Connection, Guest, Reply
from api.waiting.room import WaitingRoom

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

UNSENT_BYTES_MAX = 1 << 18
"""A client that does not read its stream is hung up on once so much waits for it."""

READ_WITHIN_S = 60.0
"""How long a client that was sent its last word may take to read it."""

Headers = list[tuple[str, str]]


class Handover(Response):
    """A response that the waiting room will write: its headers are sent with whatever comes.

    Raises StopIteration when called under gunicorn: the connection is the room's by then.
    """

    def __init__(self, room: WaitingRoom, guest: Guest) -> None:
        super().__init__(status=200)
        self._room = room
        self._guest = guest
        # What they are is known when they are written.
        self.headers.remove("Content-Type")

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Hand the client over, as PEP 3333 has it where the server keeps the connection."""
        headers = list(self.headers)
        taken = environ.get("gunicorn.socket")
        if isinstance(taken, socket.socket) and not isinstance(taken, ssl.SSLSocket):
            ours = take_over(taken)
            self._room.admit(
                self._guest, lambda guest: _SocketLine(self._room, guest, ours, headers)
            )
            raise StopIteration
        line = _ThreadLine(headers)
        self._room.admit(self._guest, lambda _: line)
        return line.pass_on(start)


def take_over(theirs: socket.socket) -> socket.socket:
    """A socket of ours on the same connection; ``theirs`` becomes one that leads nowhere."""
    ours = theirs.dup()
    nowhere, other_end = socket.socketpair()
    other_end.close()
    os.dup2(nowhere.fileno(), theirs.fileno(), inheritable=False)
    nowhere.close()
    return ours


class _SocketLine(Connection, asyncio.Protocol):
    """A connection that the room's loop writes to. Made in the loop's thread."""

    def __init__(
        self, room: WaitingRoom, guest: Guest, taken: socket.socket, headers: Headers
    ) -> None:
        self._room = room
        self._guest = guest
        self._headers = headers
        self._transport: asyncio.Transport | None = None
        self._unsent = bytearray()
        self._closing = False
        self._giving_up: asyncio.TimerHandle | None = None
        taken.setblocking(False)
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(self._open(loop, taken))

    async def _open(self, loop: asyncio.AbstractEventLoop, taken: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(lambda: self, taken)
        except OSError:
            taken.close()
            self._room.leave(self._guest)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop writes from here on."""
        assert isinstance(transport, asyncio.Transport), "a socket's transport reads and writes"
        self._transport = transport
        transport.write(bytes(self._unsent))
        self._unsent.clear()
        if self._closing:
            self._see_off(transport)

    def data_received(self, data: bytes) -> None:
        """A client has nothing to say while it waits; what it sends is dropped."""

    def eof_received(self) -> bool:
        """A client that hangs up half way is taken to be gone."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone, or was sent off."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        self._room.leave(self._guest)

    def answer(self, reply: Reply) -> None:
        """The whole answer, then the connection is closed."""
        self.send(_head(reply.status, _all_headers(self._headers, reply)) + reply.body)
        self.close()

    def begin(self) -> None:
        """The head of a stream, whose end is the end of the connection."""
        self.send(_head(HTTPStatus.OK, [*self._headers, ("Content-Type", EVENT_STREAM)]))

    def send(self, data: bytes) -> None:
        """Never waits; a client that does not read is hung up on."""
        if self._transport is None:
            self._unsent += data
        elif self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._transport.abort()
        else:
            self._transport.write(data)

    def close(self) -> None:
        """What was sent still goes out, to a client that reads it."""
        self._closing = True
        if self._transport is not None:
            self._see_off(self._transport)

    def _see_off(self, transport: asyncio.Transport) -> None:
        transport.close()
        if transport.get_write_buffer_size():
            loop = asyncio.get_running_loop()
            self._giving_up = loop.call_later(READ_WITHIN_S, transport.abort)


def _all_headers(of_request: Headers, reply: Reply) -> Headers:
    length = [("Content-Type", JSON), ("Content-Length", str(len(reply.body)))]
    return [*of_request, *reply.headers, *length]


def _head(status: int, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status:d} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"Date: {formatdate(usegmt=True)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


class _ThreadLine(Connection):
    """What the room sends, for a thread to pass on."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._queue: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def answer(self, reply: Reply) -> None:
        """The whole answer."""
        self._queue.put(("answer", reply))

    def begin(self) -> None:
        """The head of a stream."""
        self._queue.put(("begin", None))

    def send(self, data: bytes) -> None:
        """More of a stream."""
        self._queue.put(("data", data))

    def close(self) -> None:
        """The end of a stream."""
        self._queue.put(("end", None))

    def pass_on(self, start: StartResponse) -> Iterable[bytes]:
        """Wait for the first words, which say what kind of answer it is."""
        kind, value = self._queue.get()
        if kind == "answer":
            status = value.status
            headers = _all_headers(self._headers, value)
            start(f"{status} {HTTPStatus(status).phrase}", headers)
            return [value.body]
        start("200 OK", [*self._headers, ("Content-Type", EVENT_STREAM)])
        return self._rest()

    def _rest(self) -> Iterator[bytes]:
        while (item := self._queue.get())[0] == "data":
            yield item[1]
