"""A release page of one's own: files under a URL, with ranges, redirects and broken lines."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Releases:
    """What is offered, how it is offered, and what was asked for."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    cut_after: int | None = None
    """Bytes of a body after which the line breaks."""
    asked: list[str | None] = field(default_factory=list)
    """The Range of each request for a file."""


@contextlib.contextmanager
def releases(**files: bytes) -> Iterator[Releases]:
    """A server for files; /latest/<name> leads to /files/<name>."""
    offer = Releases(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place, _, name = self.path.strip("/").partition("/")
            if place == "latest":
                self.send_response(302)
                self.send_header("Location", f"/files/{name}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = offer.files.get(name)
            if place != "files" or body is None:
                self.send_error(404)
                return
            self._send(body)

        def _send(self, body: bytes) -> None:
            wanted = self.headers.get("Range")
            offer.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if not offer.ranges:
                start = 0
            if start and start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : start + (offer.cut_after or len(body))])

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    offer.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield offer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
