"""Requests as other languages' HTTP clients put them on the wire, byte for byte but for lengths.

Go's ``net/http``, Java's ``java.net.http`` and PHP's curl extension need not be installed: what
they send is known. What comes back is read by Python.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60
File = tuple[str, bytes]
Form = Sequence[tuple[str, str | File]]
"""Names with texts, or with a file's name and content."""


@dataclass(frozen=True)
class Wire:
    """One client: how it writes a JSON body's request, and a form's."""

    name: str
    json_head: Callable[[Mapping[str, str]], list[str]]
    form_head: Callable[[Mapping[str, str]], list[str]]
    boundary: str
    file_type: str
    chunked_form: bool = False
    expects: bool = False

    def submit(self, url: str, key: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """POST a JSON body: status and JSON answer."""
        data = json.dumps(body).encode()
        facts = self._facts(url, key, "application/json", len(data))
        return self._asked(url, self.json_head(facts), data)

    def upload(self, url: str, key: str, form: Form) -> tuple[int, Any]:
        """POST a form: status and JSON answer."""
        data = self._form(form)
        kind = f"multipart/form-data; boundary={self.boundary}"
        facts = self._facts(url, key, kind, len(data))
        if self.chunked_form:
            data = b"".join(_chunk(data[at : at + 4096]) for at in range(0, len(data), 4096))
            data += b"0\r\n\r\n"
        return self._asked(url, self.form_head(facts), data)

    def _facts(self, url: str, key: str, kind: str, length: int) -> dict[str, str]:
        parts = urlsplit(url)
        return {
            "path": parts.path,
            "host": parts.netloc,
            "key": key,
            "type": kind,
            "length": str(length),
        }

    def _form(self, form: Form) -> bytes:
        data = b""
        for name, value in form:
            data += f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
            if isinstance(value, str):
                data += b"\r\n\r\n" + value.encode()
            else:
                data += f'; filename="{value[0]}"\r\nContent-Type: {self.file_type}'.encode()
                data += b"\r\n\r\n" + value[1]
            data += b"\r\n"
        return data + f"--{self.boundary}--\r\n".encode()

    def _asked(self, url: str, head: list[str], data: bytes) -> tuple[int, Any]:
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port or 80)
        with contextlib.closing(socket.create_connection(place, TIMEOUT_S)) as line:
            line.sendall("\r\n".join([*head, "", ""]).encode("ascii"))
            if self.expects and any(word.startswith("Expect") for word in head):
                assert line.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
            line.sendall(data)
            answer = http.client.HTTPResponse(line, method="POST")
            answer.begin()
            return answer.status, json.loads(answer.read())


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _go(facts: Mapping[str, str], length: str) -> list[str]:
    return [
        f"POST {facts['path']} HTTP/1.1",
        f"Host: {facts['host']}",
        "User-Agent: Go-http-client/1.1",
        length,
        f"Authorization: Bearer {facts['key']}",
        f"Content-Type: {facts['type']}",
        "Accept-Encoding: gzip",
    ]


def _java(facts: Mapping[str, str]) -> list[str]:
    return [
        f"POST {facts['path']} HTTP/1.1",
        "Connection: Upgrade, HTTP2-Settings",
        f"Content-Length: {facts['length']}",
        f"Host: {facts['host']}",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        "Upgrade: h2c",
        "User-Agent: Java-http-client/21.0.2",
        f"Authorization: Bearer {facts['key']}",
        f"Content-Type: {facts['type']}",
    ]


def _php(facts: Mapping[str, str], *more: str) -> list[str]:
    return [
        f"POST {facts['path']} HTTP/1.1",
        f"Host: {facts['host']}",
        "Accept: */*",
        f"Authorization: Bearer {facts['key']}",
        f"Content-Type: {facts['type']}",
        f"Content-Length: {facts['length']}",
        *more,
    ]


WIRES = (
    Wire(
        "go",
        lambda facts: _go(facts, f"Content-Length: {facts['length']}"),
        # A body that is written through a pipe has no length.
        lambda facts: _go(facts, "Transfer-Encoding: chunked"),
        boundary="bd4ae9f50c3a6c2bd7e1bd4ae9f50c3a6c2bd7e1bd4ae9f50c3a6c2bd7e1",
        file_type="application/octet-stream",
        chunked_form=True,
    ),
    Wire(
        "java",
        _java,
        _java,
        boundary="----JavaBoundary7MA4YWxkTrZu0gW",
        file_type="image/png",
    ),
    Wire(
        "php",
        _php,
        lambda facts: _php(facts, "Expect: 100-continue"),
        boundary="------------------------aHM3NzJkYjQwZDFhYWEx",
        file_type="image/png",
        expects=True,
    ),
)
