"""What happens to the jobs of a request while its client waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from werkzeug.test import TestResponse

from api.app import runtime_of
from farm import inputs, settle, views
from farm.events import JobEvent
from farm.views import JobView
from tests import factories
from tests.api.caller import Caller
from tests.processes import wait_until

PATIENCE_S = 20.0


def jobs_of(caller: Caller) -> list[JobView]:
    """The caller's jobs, oldest first."""
    found = views.newest_jobs(caller.services.db, caller.customer.account_id, limit=100)
    return found[::-1]


def end(caller: Caller, job: JobView, how: str) -> None:
    """End a job and tell of it: ``succeed``, ``fail``, ``block``, ``cancel``, ``refuse``,
    ``refuse-url``, ``lose`` (it succeeds, and its file is gone), or ``leave`` it as it is."""
    services = caller.services
    if how == "leave":
        return
    if how == "refuse-url":
        sentence = "image_url: could not be fetched."
        assert inputs.refuse(services.db, job.id, "input_unavailable", sentence)
    elif how == "cancel":
        settle.cancel(services.db, caller.customer.account_id, job.id)
    else:
        claim = factories.claimed(services, job.id)
        if how in ("succeed", "lose"):
            assert factories.succeed(services, claim)
        if how == "lose":
            services.storage.delete_attempt(job.id, claim.attempt)
        elif how == "block":
            assert settle.block(services.db, claim, "blocked", "The result was refused.")
        elif how != "succeed":
            code = "invalid_request" if how == "refuse" else "engine_failed"
            factories.fail(services, claim, code=code)
    state = views.find_job(services.db, job.id).state
    runtime_of(caller.app).announcer.tell(JobEvent(job.id, state, 1))


def answered(
    caller: Caller, send: Callable[[], TestResponse], ends: Sequence[str] = ("succeed",)
) -> TestResponse:
    """The answer to a request that waits, whose jobs end so meanwhile."""
    before = len(jobs_of(caller))
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(send)
        wait_until(
            lambda: len(jobs_of(caller)) == before + len(ends) or waiting.done(),
            PATIENCE_S,
            "no job was made",
        )
        if not waiting.done():
            for job, how in zip(jobs_of(caller)[before:], ends, strict=True):
                end(caller, job, how)
        return waiting.result(PATIENCE_S)


def problem(response: TestResponse, status: int, word: str) -> dict[str, Any]:
    """The error of an answer, in the dialect's one shape."""
    assert response.status_code == status, response.text
    assert response.json is not None
    assert set(response.json) == {"error"}, response.text
    error: dict[str, Any] = response.json["error"]
    assert set(error) == {"code", "message", "type", "param"}
    assert (error["code"], error["type"]) == (status, word), error
    return error


def standing(caller: Caller) -> tuple[int, int]:
    """What the account has and what of it is held, in tenths."""
    account = views.balance(caller.services.db, caller.customer.account_id)
    return account.posted_tenths, account.held_tenths
