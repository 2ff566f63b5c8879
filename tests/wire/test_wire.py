"""Golden conversations: requests as clients send them, answers to the letter.

A file is a list of steps: a request with the answer it must get, or something that happens to
the saved job (``claim``, ``succeed``, ``fail``, ``cancel``) or to the account (``block``).
``{key}``, ``{email}`` and saved names stand for values; ``<id>``, ``<time>``, ``<url>``,
``<text>`` and ``<seconds>`` for anything of that kind.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.app import create_app, runtime_of
from farm import accounts, settle
from farm.config import Settings
from farm.services import Services
from farm.types import AccountStatus, Claim
from tests import factories
from tests.factories import Customer

FILES = sorted(Path(__file__).parent.glob("*/*.json"))
KINDS = {
    "<id>": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "<url>": r"https://farm\.example/outputs/[a-z]+/\d{4}/\d\d/\d\d/[\w-]+\.\w+\?exp=\d+&sig=[\w-]+",
    "<text>": r".{10,}",
    "<seconds>": r"[1-9]\d*",
}


class Conversation:
    """One customer going through the steps of a file."""

    def __init__(self, app: Flask, services: Services, customer: Customer) -> None:
        self.app = app
        self.services = services
        self.customer = customer
        self.saved = {"key": customer.key, "email": customer.email}
        self.claim: Claim | None = None

    def exchange(self, step: dict[str, Any]) -> None:
        """Send a request and compare the answer."""
        asked, expected = step["request"], self.filled(step["response"])
        headers = {name: self.filled(value) for name, value in asked["headers"].items()}
        response = self.app.test_client().open(
            self.filled(asked["path"]),
            method=asked["method"],
            headers=headers,
            json=asked.get("json"),
            data=asked.get("body"),
        )
        assert response.status_code == expected["status"], response.text
        assert_matches(response.json, expected["json"], "answer")
        for name, value in expected["headers"].items():
            assert_matches(response.headers.get(name), value, name)
        for name, field in step.get("save", {}).items():
            self.saved[name] = response.json[field]

    def happen(self, what: str) -> None:
        """Something that a client does not do."""
        if what == "claim":
            self.claim = factories.claimed(self.services, uuid.UUID(self.saved["job"]))
        elif what == "cancel":
            job_id = uuid.UUID(self.saved["job"])
            settle.cancel(self.services.db, self.customer.account_id, job_id)
        elif what == "block":
            with self.services.db.transaction() as connection:
                accounts.set_status(connection, self.customer.account_id, AccountStatus.BLOCKED)
        else:
            assert self.claim is not None
            {"succeed": factories.succeed, "fail": factories.fail}[what](self.services, self.claim)

    def filled(self, value: Any) -> Any:
        """The value with the names in braces replaced."""
        if isinstance(value, dict):
            return {name: self.filled(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        if isinstance(value, str):
            for name, text in self.saved.items():
                value = value.replace(f"{{{name}}}", text)
        return value


def assert_matches(got: Any, expected: Any, where: str) -> None:
    """Equal, but for the words that stand for a kind of value; 3 and 3.0 differ on the wire."""
    if isinstance(expected, dict):
        assert isinstance(got, dict), where
        assert sorted(got) == sorted(expected), where
        for name, inner in expected.items():
            assert_matches(got[name], inner, f"{where}.{name}")
    elif isinstance(expected, list):
        assert isinstance(got, list), where
        assert len(got) == len(expected), where
        for number, inner in enumerate(expected):
            assert_matches(got[number], inner, f"{where}[{number}]")
    elif isinstance(expected, str) and expected in KINDS:
        assert isinstance(got, str), where
        assert re.fullmatch(KINDS[expected], got), f"{where}: {got!r} is not {expected}"
    else:
        assert got == expected, where
        assert type(got) is type(expected), where


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_conversation(path: Path, settings: Settings, tmp_path: Path) -> None:
    golden = json.loads(path.read_text(encoding="utf-8"))
    rules = tmp_path / "moderation.txt"
    rules.write_text("forbidden fruit\n", encoding="utf-8")
    changed = {"public_url": "https://farm.example", "moderation_file": rules}
    app = create_app(settings.model_copy(update=changed))
    runtime = runtime_of(app)
    try:
        customer = factories.customer(runtime.services, plan=golden["plan"])
        conversation = Conversation(app, runtime.services, customer)
        for step in golden["steps"]:
            if "do" in step:
                conversation.happen(step["do"])
            else:
                conversation.exchange(step)
    finally:
        runtime.close()
