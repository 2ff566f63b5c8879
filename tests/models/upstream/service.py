"""A small service that speaks OpenAI's shapes over real HTTP, and fails as it is told."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


def png(width: int = 64, height: int = 48, colour: str = "teal") -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def picture(data: bytes | None = None) -> dict[str, Any]:
    """The answer to a request for one picture, with the picture in it."""
    words = base64.b64encode(png() if data is None else data).decode()
    return {"created": 1, "data": [{"b64_json": words}]}


def problem(kind: str, message: str = "No.", **more: Any) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None, **more}}


@dataclass(frozen=True)
class Reply:
    """One answer. ``body`` may be JSON or bytes.

    ``hangs``: it never comes. ``cut``: the connection is reset before it, ``cut_after`` bytes
    of it.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    cut_after: int | None = None

    @property
    def data(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)

    @property
    def fields(self) -> list[tuple[str, bytes]]:
        """The fields of a multipart form, in their order."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(head + self.body)
        return [(_name(part), part.get_payload(decode=True)) for part in form.iter_parts()]


def _name(part: Message) -> str:
    name = part.get_param("name", header="content-disposition")
    assert isinstance(name, str)
    return name


class OpenaiServer:
    """Answers with ``replies`` in their order, then with ``otherwise``, the path's own first."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.asked: list[Asked] = []
        self.replies: deque[Reply] = deque()
        self.at: dict[str, Reply] = {}
        self.otherwise = Reply(body=picture())
        self.ended = threading.Event()

    def reset(self) -> None:
        """Forget everything."""
        self.asked.clear()
        self.replies.clear()
        self.at.clear()
        self.otherwise = Reply(body=picture())

    def then(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        self.replies.extend(replies)

    def reply_to(self, asked: Asked) -> Reply:
        """What this request is answered with."""
        self.asked.append(asked)
        if asked.path in self.at:
            return self.at[asked.path]
        return self.replies.popleft() if self.replies else self.otherwise


def _handler(found: list[OpenaiServer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            [server] = found
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.reply_to(Asked(self.command, self.path, headers, body))
            if reply.hangs:
                server.ended.wait(60)
                self.close_connection = True
                return
            data = reply.data
            with contextlib.suppress(ConnectionError):  # whoever asked may be gone
                self.send_response(reply.status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
                for name, value in {**headers, **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data if reply.cut_after is None else data[: reply.cut_after])
                if reply.cut_after is not None:
                    self.wfile.flush()
                    self.close_connection = True
                    now = struct.pack("ii", 1, 0)  # closed by a reset
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """A test's output is not the place."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is what some tests are about."""


@contextlib.contextmanager
def openai_server() -> Iterator[OpenaiServer]:
    """A server on a free port of 127.0.0.1; ended on exit."""
    found: list[OpenaiServer] = []
    with _Server(("127.0.0.1", 0), _handler(found)) as server:
        found.append(OpenaiServer(server))
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield found[0]
        finally:
            found[0].ended.set()
            server.shutdown()
            thread.join(10)
