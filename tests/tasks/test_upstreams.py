"""A job of a hosted model in a real worker child: claimed, run by a service over HTTP, settled."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from farm import settle, views
from farm.config import Settings
from farm.services import Services
from farm.submit import submit
from farm.tables import metadata
from farm.types import JobRequest, JobState
from farm.views import JobView
from models.parts.upstream import caller
from tasks.child import Child, ChildSlot
from tasks.drain import Drain
from tasks.generate import generate
from tasks.registration import build
from tests import factories
from tests.farm.checks import assert_books_balance
from tests.models.upstream.service import OpenaiServer, Reply, openai_server, problem
from tests.processes import wait_until

KEY = "sk-a-key-of-the-farm-0123456789"
PRICE_TENTHS = 120


@pytest.fixture(scope="module")
def serving() -> Iterator[OpenaiServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def server(serving: OpenaiServer) -> OpenaiServer:
    serving.reset()
    return serving


@pytest.fixture
def settings(settings: Settings, server: OpenaiServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The farm's settings, with the service as the upstream of one model."""
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    monkeypatch.setattr(caller, "CALLS_MAX", 1)
    row = {
        "base_url": server.base_url,
        "key_env": "UPSTREAM_KEY",
        "model": "m",
        "name": "Elsewhere",
    }
    return settings.model_copy(update={"upstreams": json.dumps({"gpt-image-2": row})})


@pytest.fixture
def child(settings: Settings) -> Iterator[Child]:
    """A child as a worker makes it."""
    celery, _ = build(settings)
    slot = ChildSlot(settings, celery, Drain())
    yield slot.open()
    slot.close()


class Case:
    """One job of one customer, and what became of it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.who = factories.customer(services, storefront="pixapi", extra_credits=100)
        offer = services.offers.find("pixapi", "generate", "gpt-image-2")
        params = {"prompt": "a fox", "width": 256, "height": 256, "seed": 7}
        request = JobRequest(offer.card.id, "generate", params, sold_as=offer.sold_as)
        self.job_id = submit(services, self.who.principal, request).job_id
        self.before = views.balance(services.db, self.who.account_id).posted_tenths

    @property
    def job(self) -> JobView:
        return views.get_job(self.services.db, self.who.account_id, self.job_id)

    @property
    def charged_tenths(self) -> int:
        balance = views.balance(self.services.db, self.who.account_id)
        assert balance.held_tenths in (0, PRICE_TENTHS)
        return self.before - balance.posted_tenths


@pytest.fixture
def case(services: Services) -> Case:
    return Case(services)


def database_text(services: Services) -> str:
    """Every row of every table, as text."""
    with services.db.statement() as connection:
        return repr([connection.execute(table.select()).all() for table in metadata.sorted_tables])


def test_a_job_is_made_elsewhere_stored_here_and_charged(child: Child, case: Case) -> None:
    generate(child, case.job_id, "worker@here")
    job = case.job
    assert job.state is JobState.SUCCEEDED
    assert (job.served_by, job.sold_model) == ("gpt-image-2 by Elsewhere", "gpt-image-2")
    assert (job.facts["width"], job.facts["height"], job.facts["seed"]) == (256, 256, 7)
    assert case.charged_tenths == PRICE_TENTHS
    assert_books_balance(child.services)


def test_what_the_service_refuses_is_blocked_and_costs_nothing(
    child: Child, case: Case, server: OpenaiServer
) -> None:
    server.then(Reply(400, problem("content_policy_violation", "Their words.")))
    generate(child, case.job_id, "worker@here")
    job = case.job
    assert (job.state, job.error_code) == (JobState.BLOCKED, "content_refused")
    assert "Their words" not in str(job.error_message)
    assert case.charged_tenths == 0
    assert_books_balance(child.services)


@pytest.mark.parametrize(
    ("reply", "attempts", "code"),
    [
        (Reply(401, problem("authentication_error", f"Bad key {KEY}")), 1, "upstream_failed"),
        (Reply(400, problem("invalid_request_error", f"Not {KEY}")), 1, "upstream_failed"),
        (Reply(503, problem("server_error", f"Busy {KEY}")), 3, "upstream_unavailable"),
        (Reply(body={"data": [{"url": "http://10.0.0.1/x"}]}), 3, "upstream_unavailable"),
    ],
)
def test_what_fails_costs_nothing_and_tells_nothing(
    child: Child,
    case: Case,
    server: OpenaiServer,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    attempts: int,
    code: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.otherwise = reply
    for _ in range(attempts):
        assert not case.job.state.is_terminal
        generate(child, case.job_id, "worker@here")
    job = case.job
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, code, attempts)
    for word in ("Elsewhere", "127.0.0.1", str(server.port), "UPSTREAM_KEY"):
        assert word not in str(job.error_message)
    assert "Elsewhere" in caplog.text, "the operator is told"
    assert KEY not in caplog.text
    assert KEY not in database_text(child.services)
    assert case.charged_tenths == 0
    assert_books_balance(child.services)


def test_all_attempts_of_a_job_ask_with_one_key(
    child: Child, case: Case, server: OpenaiServer
) -> None:
    server.then(Reply(503, problem("server_error")))
    generate(child, case.job_id, "worker@here")
    generate(child, case.job_id, "worker@here")
    assert case.job.state is JobState.SUCCEEDED
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert keys == [str(case.job_id)] * 2


def test_a_cancel_stops_a_job_that_waits_for_its_service(
    child: Child, case: Case, server: OpenaiServer
) -> None:
    server.then(Reply(hangs=True))
    thread = threading.Thread(target=generate, args=(child, case.job_id, "worker@here"))
    thread.start()
    wait_until(lambda: server.asked, 10, "the service was not asked")
    settle.cancel(child.services.db, case.who.account_id, case.job_id)
    thread.join(10)
    assert not thread.is_alive()
    assert case.job.state is JobState.CANCELLED
    assert case.charged_tenths == 0


def test_a_worker_without_the_key_fails_the_job_and_names_the_variable(
    child: Child, case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("UPSTREAM_KEY")
    generate(child, case.job_id, "worker@here")
    assert case.job.state is JobState.QUEUED
    assert "set UPSTREAM_KEY in the environment" in caplog.text


def test_it_all_runs_where_torch_is_not_installed(
    settings: Settings, case: Case, services: Services
) -> None:
    code = f"""
import os, sys, uuid
for name in ("torch", "diffusers", "transformers", "pynvml", "cv2"):
    sys.modules[name] = None
from farm.config import Settings
from tasks.child import ChildSlot
from tasks.drain import Drain
from tasks.generate import generate
from tasks.registration import build
settings = Settings(**{settings_words(settings)!r})
slot = ChildSlot(settings, build(settings)[0], Drain())
generate(slot.open(), uuid.UUID("{case.job_id}"), "worker@here")
slot.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert case.job.state is JobState.SUCCEEDED, done.stderr
    assert KEY not in done.stdout + done.stderr


def settings_words(settings: Settings) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": settings.broker_url,
        "data": str(settings.data),
        "upstreams": settings.upstreams,
        "weights": "tiny",
    }
