"""A Hugging Face hub of one's own: the few answers that fetching a snapshot asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Repository:
    """A part of a card's weights that is a repository."""

    hub_id: str = "someone/model"
    revision: str = REVISION
    layout: str = "pipeline"
    variant: str | None = None
    files: tuple[str, ...] = ()
    only_with: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """A part of a card's weights that is a single file."""

    url: str
    sha256: str
    format: str = "onnx"
    only_with: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What an engine is made from, without a catalogue."""

    id: str = "sdxl"
    weights: Mapping[str, Repository | File] = field(
        default_factory=lambda: {"pipeline": Repository()}
    )
    options: Mapping[str, str] = field(default_factory=dict)

    def served_by(self, weights: str) -> str:
        return f"{self.id}-tiny" if weights == "tiny" else self.id


@contextlib.contextmanager
def hub(repositories: dict[str, Path], *, gated: bool = False) -> Iterator[str]:
    """The URL of a server that offers each folder as the repository of that name.

    A gated one shows its listing and refuses its files, as the real one does.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0].strip("/")
            for name, folder in repositories.items():
                if path.startswith(f"api/models/{name}/tree/{REVISION}"):
                    return self._send(json.dumps(_listing(folder)).encode(), body)
                start = f"{name}/resolve/{REVISION}/"
                if path.startswith(start) and gated:
                    return self._send(b"", body, 403, {"X-Error-Code": "GatedRepo"})
                if path.startswith(start) and (folder / path.removeprefix(start)).is_file():
                    return self._send((folder / path.removeprefix(start)).read_bytes(), body)
            return self._send(b"", body, 404, {"X-Error-Code": "EntryNotFound"})

        def _send(
            self,
            content: bytes,
            body: bool,
            status: int = 200,
            headers: dict[str, str] | None = None,
        ) -> None:
            self.send_response(status)
            digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            sent = {"ETag": f'"{digest}"', "X-Repo-Commit": REVISION, **(headers or {})}
            sent |= {"Content-Length": str(len(content)), "Content-Type": "application/json"}
            for key, value in sent.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _listing(folder: Path) -> list[dict[str, object]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [
        {
            "type": "file",
            "path": str(file.relative_to(folder)),
            "size": file.stat().st_size,
            "oid": hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest(),
        }
        for file in files
    ]
