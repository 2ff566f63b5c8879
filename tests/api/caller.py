"""One customer at the API: sends requests with its key, and looks at what they left behind."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from farm import views
from farm.services import Services
from tests.factories import Customer

GENERATE = "/v1/image/generate"
Part = tuple[str, str] | tuple[str, bytes, str]
"""A form's text field, or a file: name, content, file name."""

_TABLES = ("jobs", "holds", "entries", "idempotency_keys", "inputs")


@dataclass(frozen=True)
class Caller:
    """A customer with a client."""

    app: Flask
    services: Services
    customer: Customer

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs to be let in."""
        return {"Authorization": f"Bearer {self.customer.key}"}

    def get(self, path: str, **headers: str) -> TestResponse:
        """GET with the key; header names with underscores."""
        return self.app.test_client().get(path, headers=self.headers | _named(headers))

    def generate(self, body: Any, **headers: str) -> TestResponse:
        """POST a JSON body to the generate path."""
        return self.app.test_client().post(
            GENERATE, json=body, headers=self.headers | _named(headers)
        )

    def post(self, path: str, body: Any, **headers: str) -> TestResponse:
        """POST a JSON body."""
        return self.app.test_client().post(path, json=body, headers=self.headers | _named(headers))

    def post_bytes(
        self, data: bytes, content_type: str | None, path: str = GENERATE
    ) -> TestResponse:
        """POST bytes as they are."""
        return self.app.test_client().post(
            path, data=data, content_type=content_type, headers=self.headers
        )

    def edit(self, operation: str, body: Any, **headers: str) -> TestResponse:
        """POST a JSON body to an edit path."""
        return self.app.test_client().post(
            f"/v1/image/{operation}", json=body, headers=self.headers | _named(headers)
        )

    def upload(self, operation: str, *parts: Part, **headers: str) -> TestResponse:
        """POST a form to an edit path: (name, text) and (name, bytes, file name) in this order."""
        boundary = f"----{uuid.uuid4().hex}"
        return self.app.test_client().post(
            f"/v1/image/{operation}",
            data=form_body(parts, boundary),
            content_type=f"multipart/form-data; boundary={boundary}",
            headers=self.headers | _named(headers),
        )

    def footprint(self) -> dict[str, int]:
        """Rows of every table that a submit writes, stored files, the account's two amounts."""
        with self.services.db.statement() as connection:
            rows = {
                table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                for table in _TABLES
            }
        account = views.balance(self.services.db, self.customer.account_id)
        folder = self.services.settings.data / "storage"
        files = sum(path.is_file() for path in folder.rglob("*"))
        return rows | {
            "files": files,
            "posted": account.posted_tenths,
            "held": account.held_tenths,
        }


def form_body(parts: Sequence[Part], boundary: str) -> bytes:
    """The parts as ``multipart/form-data``."""
    body = bytearray()
    for part in parts:
        file_name = f'; filename="{part[2]}"' if len(part) == 3 else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{part[0]}"'.encode()
        body += f"{file_name}\r\n\r\n".encode()
        body += part[1].encode() if isinstance(part[1], str) else part[1]
        body += b"\r\n"
    return bytes(body + f"--{boundary}--\r\n".encode())


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
