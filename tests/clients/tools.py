"""Four ways to speak HTTP, as customers do it: curl, urllib, requests, and Node's own fetch."""

from __future__ import annotations

import json
import mimetypes
import subprocess
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import requests

from tests.programs import program

TIMEOUT_S = 60
NODE_CLIENT = Path(__file__).with_name("client.mjs")


class Tool(Protocol):
    """One of them. ``url`` is whole; answers are the decoded JSON of a 200."""

    name: str

    def upload(
        self, url: str, key: str, fields: Mapping[str, str], files: Mapping[str, Path]
    ) -> dict[str, Any]:
        """POST a form with files."""

    def submit(self, url: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a JSON body."""

    def get(self, url: str, key: str) -> dict[str, Any]:
        """GET with the key."""

    def download(self, url: str, to: Path) -> None:
        """Save what a signed URL leads to; it needs no key."""


def _ran(*command: str | Path) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S + 10, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


class Curl:
    """The command line, ``-F`` and ``-d``."""

    name = "curl"

    def upload(
        self, url: str, key: str, fields: Mapping[str, str], files: Mapping[str, Path]
    ) -> dict[str, Any]:
        """``-F image=@file -F prompt=…``."""
        parts = [f"{name}=@{path}" for name, path in files.items()]
        parts += [f"{name}={value}" for name, value in fields.items()]
        return self._json(url, key, *(word for part in parts for word in ("-F", part)))

    def submit(self, url: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """``-d '{…}'``."""
        return self._json(url, key, "-H", "Content-Type: application/json", "-d", json.dumps(body))

    def get(self, url: str, key: str) -> dict[str, Any]:
        """No words but the key."""
        return self._json(url, key)

    def download(self, url: str, to: Path) -> None:
        """``-o``."""
        _ran(program("curl", "curl"), "-sS", "--fail-with-body", "-o", to, url)

    def _json(self, url: str, key: str, *words: str) -> dict[str, Any]:
        command = (program("curl", "curl"), "-sS", "--fail-with-body", "--max-time", str(TIMEOUT_S))
        answer: dict[str, Any] = json.loads(
            _ran(*command, "-H", f"Authorization: Bearer {key}", *words, url)
        )
        return answer


class Urllib:
    """Python's standard library, with a form written by hand."""

    name = "urllib"

    def upload(
        self, url: str, key: str, fields: Mapping[str, str], files: Mapping[str, Path]
    ) -> dict[str, Any]:
        """The parts between boundaries, as RFC 7578 has them."""
        boundary, body = uuid.uuid4().hex, b""
        for name, value in fields.items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
            body += head.encode() + value.encode() + b"\r\n"
        for name, path in files.items():
            kind = mimetypes.guess_type(path)[0]
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            head += f'filename="{path.name}"\r\nContent-Type: {kind}\r\n\r\n'
            body += head.encode() + path.read_bytes() + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        return self._json(url, key, body, f"multipart/form-data; boundary={boundary}")

    def submit(self, url: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body as bytes."""
        return self._json(url, key, json.dumps(body).encode(), "application/json")

    def get(self, url: str, key: str) -> dict[str, Any]:
        """No body."""
        return self._json(url, key)

    def download(self, url: str, to: Path) -> None:
        """Without a key."""
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            to.write_bytes(answer.read())

    def _json(
        self, url: str, key: str, body: bytes | None = None, kind: str = ""
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}"} | ({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


class Requests:
    """The library that most of Python uses."""

    name = "requests"

    def upload(
        self, url: str, key: str, fields: Mapping[str, str], files: Mapping[str, Path]
    ) -> dict[str, Any]:
        """``data=`` and ``files=``."""
        sent = {name: (path.name, path.read_bytes()) for name, path in files.items()}
        return self._checked(
            requests.post(url, data=fields, files=sent, headers=_bearer(key), timeout=TIMEOUT_S)
        )

    def submit(self, url: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """``json=``."""
        return self._checked(requests.post(url, json=body, headers=_bearer(key), timeout=TIMEOUT_S))

    def get(self, url: str, key: str) -> dict[str, Any]:
        """The key in a header."""
        return self._checked(requests.get(url, headers=_bearer(key), timeout=TIMEOUT_S))

    def download(self, url: str, to: Path) -> None:
        """Without a key."""
        answer = requests.get(url, timeout=TIMEOUT_S)
        answer.raise_for_status()
        to.write_bytes(answer.content)

    def _checked(self, answer: requests.Response) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


class Node:
    """``fetch`` and ``FormData``, a process for each call: see ``client.mjs``."""

    name = "node"

    def upload(
        self, url: str, key: str, fields: Mapping[str, str], files: Mapping[str, Path]
    ) -> dict[str, Any]:
        """A ``FormData`` with ``Blob``s."""
        paths = {name: str(path) for name, path in files.items()}
        return self._json("upload", url, key, {"fields": dict(fields), "files": paths})

    def submit(self, url: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """``JSON.stringify``."""
        return self._json("submit", url, key, dict(body))

    def get(self, url: str, key: str) -> dict[str, Any]:
        """A plain ``fetch``."""
        return self._json("get", url, key, {})

    def download(self, url: str, to: Path) -> None:
        """``arrayBuffer``."""
        self._json("download", url, "", {"to": str(to)})

    def _json(self, verb: str, url: str, key: str, given: dict[str, Any]) -> dict[str, Any]:
        node = program("node", "nodejs")
        found: dict[str, Any] = json.loads(
            _ran(node, NODE_CLIENT, verb, url, key, json.dumps(given))
        )
        return found


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


TOOLS: tuple[Tool, ...] = (Curl(), Urllib(), Requests(), Node())
