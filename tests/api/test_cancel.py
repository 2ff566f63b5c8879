"""Cancelling: what the caller gets back, and what it is told when there is nothing to cancel."""

from __future__ import annotations

import uuid

import pytest

from farm import jobs, settle, views
from tests import factories
from tests.api.caller import Caller
from tests.farm.checks import assert_books_balance


def cancel(caller: Caller, job_id: object) -> tuple[int, dict[str, object]]:
    """POST to the cancel path: status and body."""
    path = f"/v1/jobs/{job_id}/cancel"
    answer = caller.app.test_client().post(path, headers=caller.headers)
    assert answer.json is not None
    return answer.status_code, answer.json


def test_a_queued_job_never_starts_and_its_credits_are_back(caller: Caller) -> None:
    before = caller.footprint()
    job_id = factories.submitted(caller.services, caller.customer)
    status, job = cancel(caller, job_id)
    assert (status, job["status"], job["credits_used"]) == (200, "cancelled", 0.0)
    assert job["receipt"] == {
        "held": 3.0,
        "charged": 0.0,
        "returned": 3.0,
        "price_rule": "sdxl: 3",
    }
    assert job["cancel_requested_at"]
    assert "worker_freed_at" not in job  # no worker had it
    assert jobs.claim(caller.services.db, job_id, "w", 30.0, 3) is None
    after = caller.footprint()
    assert (after["posted"], after["held"]) == (before["posted"], before["held"])
    assert_books_balance(caller.services)


def test_a_running_job_is_no_longer_its_workers_and_says_when_it_was_free(caller: Caller) -> None:
    claim = factories.claimed(
        caller.services, factories.submitted(caller.services, caller.customer)
    )
    assert cancel(caller, claim.job_id)[0] == 200
    assert not jobs.heartbeat(caller.services.db, claim.job_id, claim.attempt, 30, 1, 9)
    assert not factories.succeed(caller.services, claim)
    assert settle.freed(caller.services.db, claim)
    assert not settle.freed(caller.services.db, claim)
    job = caller.get(f"/v1/jobs/{claim.job_id}").json
    assert job is not None
    assert job["worker_freed_at"] >= job["cancel_requested_at"]
    assert_books_balance(caller.services)


def test_twice_is_once(caller: Caller) -> None:
    job_id = factories.submitted(caller.services, caller.customer)
    first = cancel(caller, job_id)
    assert cancel(caller, job_id) == first
    answer = caller.app.test_client().delete(f"/v1/image/{job_id}", headers=caller.headers)
    assert (answer.status_code, answer.json) == first


def test_a_finished_job_is_not_cancelled(caller: Caller) -> None:
    claim = factories.claimed(
        caller.services, factories.submitted(caller.services, caller.customer)
    )
    assert factories.succeed(caller.services, claim)
    status, problem = cancel(caller, claim.job_id)
    assert status == 409
    assert problem["detail"] == "This job has already completed. There is nothing to cancel."
    job = views.get_job(caller.services.db, caller.customer.account_id, claim.job_id)
    assert job.credits_tenths == 30


@pytest.mark.parametrize("path", ["/v1/jobs/{}/cancel", "/v1/jobs/{}", "/v1/jobs/{}/events"])
def test_what_is_not_the_callers_does_not_exist(
    caller: Caller, free_caller: Caller, path: str
) -> None:
    theirs = factories.submitted(free_caller.services, free_caller.customer)
    for job_id in (theirs, uuid.uuid4(), "no-id", f"up-{theirs}"):
        method = "POST" if path.endswith("cancel") else "GET"
        url = path.format(job_id)
        answer = caller.app.test_client().open(url, method=method, headers=caller.headers)
        assert (answer.status_code, answer.json) == (404, {"detail": "No such generation."})
    assert views.find_job(caller.services.db, theirs).state == "queued"


@pytest.mark.parametrize("wait", ["-1", "61", "ten", "nan", "", "1e999", "٣"])
def test_a_wait_that_cannot_be_is_refused(caller: Caller, wait: str) -> None:
    job_id = factories.submitted(caller.services, caller.customer)
    answer = caller.get(f"/v1/jobs/{job_id}?wait={wait}")
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["errors"][0]["field"] == "wait"


def test_a_server_that_keeps_its_sockets_waits_in_its_thread(caller: Caller) -> None:
    """Flask's own server and its test client: what gunicorn's are handed over for."""
    job_id = factories.submitted(caller.services, caller.customer)
    answer = caller.get(f"/v1/jobs/{job_id}?wait=0.2")
    assert answer.json is not None
    assert (answer.status_code, answer.json["status"]) == (200, "queued")
    cancel(caller, job_id)
    events = caller.get(f"/v1/jobs/{job_id}/events").text
    assert events.count("event: ") == 1
    assert "event: end\n" in events
