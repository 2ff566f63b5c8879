"""Golden conversations: requests as clients send them, answers to the letter.

A file is a list of steps: a request with the answer it must get, or something that happens to
the saved job (``claim``, ``succeed``, ``fail``, ``cancel``, ``refuse``) or to the account
(``block``). ``{key}``, ``{email}`` and saved names stand for values; ``<id>``, ``<up-id>`` and
the like, ``<time>``, ``<url>``, ``<text>``, ``<seconds>`` and ``<number>`` for anything of that
kind. A name that ends in ``?`` may be missing: a job's place is looked up a few times a second.

A ``form`` is a list of parts: a name with a text, or with a file, which is a ``picture`` or
``mask`` of a size in pixels, a ``text``, or a number of ``bytes``.
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
from farm import accounts, inputs, settle
from farm.config import Settings
from farm.services import Services
from farm.types import AccountStatus, Claim
from tests import factories
from tests.api.caller import Part, form_body
from tests.api.pictures import mask, picture
from tests.factories import Customer

_NO_JOB = "00000000-0000-0000-0000-000000000000"
FILES = sorted(Path(__file__).parent.glob("*/*.json"))
_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
KINDS = {
    "<id>": _ID,
    "<bg-rm-id>": f"bg-rm-{_ID}",
    "<bg-rp-id>": f"bg-rp-{_ID}",
    "<face-id>": f"face-{_ID}",
    "<obj-rm-id>": f"obj-rm-{_ID}",
    "<up-id>": f"up-{_ID}",
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
        data = asked.get("body")
        if "form" in asked:
            boundary = uuid.uuid4().hex
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            data = form_body([_part(*part) for part in asked["form"]], boundary)
        response = self.app.test_client().open(
            self.filled(asked["path"]),
            method=asked["method"],
            headers=headers,
            json=asked.get("json"),
            data=data,
        )
        assert response.status_code == expected["status"], response.text
        assert_matches(response.json, expected["json"], "answer")
        for name, value in expected["headers"].items():
            assert_matches(response.headers.get(name), value, name)
        for name, field in step.get("save", {}).items():
            self.saved[name] = response.json[field]

    def happen(self, what: str) -> None:
        """Something that a client does not do."""
        job_id = uuid.UUID(self.saved.get("job", _NO_JOB)[-36:])
        if what == "claim":
            self.claim = factories.claimed(self.services, job_id)
        elif what == "cancel":
            settle.cancel(self.services.db, self.customer.account_id, job_id)
        elif what == "refuse":
            sentence = "The URL in image_url could not be fetched."
            assert inputs.refuse(self.services.db, job_id, "input_unavailable", sentence)
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


def _part(name: str, value: str | dict[str, Any]) -> Part:
    if isinstance(value, str):
        return (name, value)
    kind, what = next(iter(value.items()))
    data = {
        "picture": lambda: picture(width=what[0], height=what[1]),
        "mask": lambda: mask(*what),
        "text": lambda: str(what).encode(),
        "bytes": lambda: bytes(what),
    }[kind]()
    return (name, data, f"{name}.png")


def assert_matches(got: Any, expected: Any, where: str) -> None:
    """Equal, but for the words that stand for a kind of value; 3 and 3.0 differ on the wire."""
    if isinstance(expected, dict):
        assert isinstance(got, dict), where
        wanted = {
            name.removesuffix("?"): inner
            for name, inner in expected.items()
            if not name.endswith("?") or name.removesuffix("?") in got
        }
        assert sorted(got) == sorted(wanted), where
        for name, inner in wanted.items():
            assert_matches(got[name], inner, f"{where}.{name}")
    elif isinstance(expected, list):
        assert isinstance(got, list), where
        assert len(got) == len(expected), where
        for number, inner in enumerate(expected):
            assert_matches(got[number], inner, f"{where}[{number}]")
    elif expected == "<number>":
        assert isinstance(got, float), where
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
