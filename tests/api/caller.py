"""One customer at the API: sends requests with its key, and looks at what they left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from farm import views
from farm.services import Services
from tests.factories import Customer

GENERATE = "/v1/image/generate"
_TABLES = ("jobs", "holds", "entries", "idempotency_keys")


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

    def post_bytes(self, data: bytes, content_type: str | None) -> TestResponse:
        """POST bytes as they are to the generate path."""
        return self.app.test_client().post(
            GENERATE, data=data, content_type=content_type, headers=self.headers
        )

    def footprint(self) -> dict[str, int]:
        """Rows of every table that a submit writes, and the account's two amounts."""
        with self.services.db.statement() as connection:
            rows = {
                table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                for table in _TABLES
            }
        account = views.balance(self.services.db, self.customer.account_id)
        return rows | {"posted": account.posted_tenths, "held": account.held_tenths}


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
