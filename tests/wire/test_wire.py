"""Golden conversations: requests as clients send them, answers to the letter.

Each storefront has a folder, and a customer is made on the storefront of its folder. A file is
a list of steps: a request with the answer it must get, or something that happens (``do``) to a
job (``claim``, ``succeed``, ``fail``, ``cancel``, ``refuse``) or to the account (``block``).
The job is that of the id saved as ``job``, or as the step's own ``job`` says; of a batch the
first one, or the one that ``nth`` says, from 0. What happens ``meanwhile`` happens to the jobs
that the request makes, before it is answered.

``{key}``, ``{email}`` and saved names stand for values; ``save`` names fields of the answer,
with dots into its objects and lists (``data.0.id``). ``<id>``, ``<time>``, ``<url>``, ``<text>``,
``<seconds>``, ``<number>`` and ``<integer>`` stand for anything of that kind, as do the words of
the folder's ``kinds.json``: patterns in which ``{uuid}`` and ``{hex}`` are an id with and without
hyphens. A name that ends in ``?`` may be missing: a job's place is looked up a few times a
second, and may be told where the file does not have it. ``settings`` are the farm's, where they
matter.

A ``form`` is a list of parts: a name with a text, or with a file, which is a ``picture`` or
``mask`` of a size in pixels, a ``text``, or a number of ``bytes``.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.app import create_app, runtime_of
from api.storefronts import DIALECTS
from farm import accounts, inputs, settle, views
from farm.config import Settings
from farm.events import JobEvent
from farm.types import AccountStatus, Claim
from tests import factories
from tests.api.caller import Part, form_body
from tests.api.pictures import mask, picture
from tests.factories import Customer
from tests.processes import wait_until
from tests.services import Databases, flush

KINDS_FILE = "kinds.json"
FILES = sorted(p for p in Path(__file__).parent.glob("*/*.json") if p.name != KINDS_FILE)
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
HEX = r"[0-9a-f]{12}4[0-9a-f]{19}"
KINDS = {
    "<id>": UUID,
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "<url>": r"https://farm\.example/outputs/[a-z0-9]+/\d{4}/\d\d/\d\d/[\w-]+\.\w+"
    r"\?exp=\d+&sig=[\w-]+",
    "<text>": r".{10,}",
    "<seconds>": r"[1-9]\d*",
}
TYPES = {"<number>": float, "<integer>": int}
PLACE = ("queue_position", "eta_seconds")
"""What is told of a job where it happens to be known."""
READ_ID = {dialect.id: dialect.read_id for dialect in DIALECTS}
PATIENCE_S = 20.0


def kinds_of(folder: Path) -> dict[str, str]:
    """What the words of a storefront's goldens stand for."""
    path = folder / KINDS_FILE
    own = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return KINDS | {k: v.replace("{uuid}", UUID).replace("{hex}", HEX) for k, v in own.items()}


class Conversation:
    """One customer going through the steps of a file."""

    def __init__(self, app: Flask, customer: Customer, kinds: dict[str, str]) -> None:
        self.app = app
        self.runtime = runtime_of(app)
        self.customer = customer
        self.kinds = kinds
        self.saved = {"key": customer.key, "email": customer.email}
        self.claims: dict[uuid.UUID, Claim] = {}

    def exchange(self, step: dict[str, Any]) -> None:
        """Send a request and compare the answer."""
        asked, expected = step["request"], self.filled(step["response"])
        headers = {name: self.filled(value) for name, value in asked["headers"].items()}
        data = asked.get("body")
        if "form" in asked:
            boundary = uuid.uuid4().hex
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            data = form_body([_part(*part) for part in asked["form"]], boundary)
        with self.happening(step.get("meanwhile", ())):
            response = self.app.test_client().open(
                self.filled(asked["path"]),
                method=asked["method"],
                headers=headers,
                json=self.filled(asked.get("json")),
                data=data,
            )
        assert response.status_code == expected["status"], response.text
        assert_matches(response.json, expected["json"], "answer", self.kinds)
        for name, value in expected["headers"].items():
            assert_matches(response.headers.get(name), value, name, self.kinds)
        for name, where in step.get("save", {}).items():
            self.saved[name] = str(field_of(response.json, where))

    @contextmanager
    def happening(self, steps: Sequence[dict[str, Any]]) -> Iterator[None]:
        """What happens to the jobs that a request makes, while it waits for them."""
        if not steps:
            yield
            return
        before = len(self.newest())
        with ThreadPoolExecutor(1) as beside:
            happened = beside.submit(self.happen_to_new, before, steps)
            yield
            happened.result()

    def happen_to_new(self, before: int, steps: Sequence[dict[str, Any]]) -> None:
        """Wait for the jobs of the request that is being answered; then each step."""
        wait_until(lambda: len(self.newest()) > before, PATIENCE_S, "no job was made")
        batch_id = self.newest()[0].batch_id
        for step in steps:
            self.happen(step["do"], self.job_id(batch_id, step.get("nth", 0)))

    def newest(self) -> list[views.JobView]:
        """The customer's jobs."""
        return views.newest_jobs(self.runtime.services.db, self.customer.account_id, limit=100)

    def job_id(self, batch_id: uuid.UUID, nth: int) -> uuid.UUID:
        """One job of a batch."""
        found = views.get_batch(self.runtime.services.db, self.customer.account_id, batch_id)
        return found[nth].id

    def act(self, step: dict[str, Any]) -> None:
        """Something that a client does not do."""
        services = self.runtime.services
        if step["do"] == "block":
            with services.db.transaction() as connection:
                accounts.set_status(connection, self.customer.account_id, AccountStatus.BLOCKED)
            return
        text = self.saved[step.get("job", "job")]
        batch_id = READ_ID[self.customer.principal.storefront](text).job_id
        self.happen(step["do"], self.job_id(batch_id, step.get("nth", 0)))

    def happen(self, what: str, job_id: uuid.UUID) -> None:
        """Something that happens to a job; those who wait for it hear of its end."""
        services = self.runtime.services
        if what == "claim":
            self.claims[job_id] = factories.claimed(services, job_id)
            return
        if what == "cancel":
            settle.cancel(services.db, self.customer.account_id, job_id)
        elif what == "refuse":
            sentence = "The URL in image_url could not be fetched."
            assert inputs.refuse(services.db, job_id, "input_unavailable", sentence)
        else:
            {"succeed": factories.succeed, "fail": factories.fail}[what](
                services, self.claims[job_id]
            )
        state = views.find_job(services.db, job_id).state
        self.runtime.announcer.tell(JobEvent(job_id, state, 1))

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


def field_of(answer: Any, where: str) -> Any:
    """The field of an answer that a path with dots leads to."""
    for part in where.split("."):
        answer = answer[int(part)] if isinstance(answer, list) else answer[part]
    return answer


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


def assert_matches(got: Any, expected: Any, where: str, kinds: dict[str, str]) -> None:
    """Equal, but for the words that stand for a kind of value; 3 and 3.0 differ on the wire."""
    if isinstance(expected, dict):
        assert isinstance(got, dict), where
        wanted = {
            name.removesuffix("?"): inner
            for name, inner in expected.items()
            if not name.endswith("?") or name.removesuffix("?") in got
        }
        told = [name for name in got if name in wanted or name not in PLACE]
        assert sorted(told) == sorted(wanted), where
        for name, inner in wanted.items():
            assert_matches(got[name], inner, f"{where}.{name}", kinds)
    elif isinstance(expected, list):
        assert isinstance(got, list), where
        assert len(got) == len(expected), where
        for number, inner in enumerate(expected):
            assert_matches(got[number], inner, f"{where}[{number}]", kinds)
    elif isinstance(expected, str) and expected in TYPES:
        assert type(got) is TYPES[expected], where
    elif isinstance(expected, str) and expected in kinds:
        assert isinstance(got, str), where
        assert re.fullmatch(kinds[expected], got), f"{where}: {got!r} is not {expected}"
    else:
        assert got == expected, where
        assert type(got) is type(expected), where


@pytest.fixture(scope="module")
def opened(
    databases: Databases, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[dict[str, Any]], Flask]]:
    """The application with some settings changed; made once for each set of them."""
    flush(redis_server)
    folder = tmp_path_factory.mktemp("wire")
    rules = folder / "moderation.txt"
    rules.write_text("forbidden fruit\n", encoding="utf-8")
    apps: dict[str, Flask] = {}
    with databases.fresh() as url, ExitStack() as stack:
        settings: dict[str, Any] = {
            "DATABASE_URL": url,
            "BROKER_URL": redis_server,
            "data": folder / "data",
            "weights": "tiny",
            "public_url": "https://farm.example",
            "moderation_file": rules,
        }

        def application(changed: dict[str, Any]) -> Flask:
            key = json.dumps(changed, sort_keys=True)
            if key not in apps:
                apps[key] = create_app(Settings(**settings | changed))
                stack.callback(runtime_of(apps[key]).close)
            return apps[key]

        yield application


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_conversation(path: Path, opened: Callable[[dict[str, Any]], Flask]) -> None:
    golden = json.loads(path.read_text(encoding="utf-8"))
    app = opened(golden.get("settings", {}))
    services = runtime_of(app).services
    customer = factories.customer(services, storefront=path.parent.name, plan=golden["plan"])
    conversation = Conversation(app, customer, kinds_of(path.parent))
    for step in golden["steps"]:
        if "do" in step:
            conversation.act(step)
        else:
            conversation.exchange(step)
    # The next conversation's jobs are first in their queues again.
    for job in conversation.newest():
        settle.cancel(services.db, customer.account_id, job.id)
