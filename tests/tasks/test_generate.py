"""One message, one job: every way an attempt can go, on a real database and a real Redis."""

from __future__ import annotations

import importlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy import text

from farm import jobs, settle, views
from farm.broker import messages_waiting
from farm.errors import (
    DeviceBroken,
    EngineFault,
    FieldError,
    InvalidRequest,
    OutOfMemory,
    WeightsMissing,
)
from farm.services import Services
from farm.submit import submit
from farm.types import Artifact, JobState, OnStep, RunRequest
from farm.views import JobView
from tasks.child import Child
from tasks.generate import generate
from tasks.residency import LoadInterrupted
from tests import factories
from tests.contracts.storage import FOREVER_S
from tests.farm.checks import amounts, assert_books_balance
from tests.processes import wait_until
from tests.tasks.engines import Body, Workshop, until


class Case:
    """One job of one customer, and what became of it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.who = factories.customer(services)
        self.job_id = factories.submitted(services, self.who)

    @property
    def job(self) -> JobView:
        return views.get_job(self.services.db, self.who.account_id, self.job_id)

    @property
    def charged_tenths(self) -> int:
        posted, held, _ = amounts(self.services, self.who.account_id)
        assert held in (0, 30)
        return 100 - posted


@pytest.fixture
def case(services: Services) -> Case:
    return Case(services)


def raising(error: BaseException) -> Body:
    def body(request: RunRequest, on_step: OnStep) -> None:
        raise error

    return body


def void(_: object) -> None:
    """A body returns nothing."""


def rung(child: Child) -> Callable[[], bool]:
    return lambda: messages_waiting(child.celery)["gpu.sdxl"] == 1


def test_a_job_runs_is_stored_and_charged(child: Child, case: Case) -> None:
    generate(child, case.job_id, "worker@here")
    job = case.job
    assert job.state is JobState.SUCCEEDED
    assert (job.attempt, job.served_by, job.facts) == (1, "sdxl", {"seed": 7})
    assert job.processing_ms is not None
    assert case.charged_tenths == 30
    assert_books_balance(child.services)


def test_the_engine_gets_the_jobs_own_parameters(
    child: Child, case: Case, workshop: Workshop
) -> None:
    seen: list[RunRequest] = []
    workshop.body = lambda request, on_step: seen.append(request)
    generate(child, case.job_id, "worker@here")
    assert [(r.job_id, r.attempt, r.model) for r in seen] == [(case.job_id, 1, "sdxl")]
    assert seen[0].params == case.job.params


def test_a_message_for_nothing_is_dropped(child: Child, case: Case, workshop: Workshop) -> None:
    generate(child, uuid.uuid4(), "worker@here")
    generate(child, case.job_id, "worker@here")
    for _ in range(3):
        generate(child, case.job_id, "worker@here")
    assert case.job.attempt == 1
    assert case.charged_tenths == 30
    assert_books_balance(child.services)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest([FieldError("width", "must be at most 1536.")]), "invalid_request"),
        (SoftTimeLimitExceeded(), "timeout"),
    ],
)
def test_what_would_fail_again_is_not_tried_again(
    child: Child, case: Case, workshop: Workshop, error: Exception, code: str
) -> None:
    workshop.body = raising(error)
    generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.job.error_code) == (JobState.FAILED, code)
    assert case.charged_tenths == 0
    assert_books_balance(child.services)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineFault("secret at /srv/weights"), "engine_failed"),
        (ZeroDivisionError("/srv/weights"), "internal_error"),
        (WeightsMissing("/srv/weights is empty"), "weights_missing"),
    ],
)
def test_what_may_pass_is_tried_again_and_then_fails_with_a_safe_sentence(
    child: Child, case: Case, workshop: Workshop, error: Exception, code: str
) -> None:
    workshop.body = raising(error)
    generate(child, case.job_id, "worker@here")
    assert case.job.state is JobState.QUEUED
    wait_until(rung(child), 10, "the retry was not rung")
    for _ in range(2):
        generate(child, case.job_id, "worker@here")
    job = case.job
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert job.error_code in (code, "setup_error")
    assert job.error_message is not None
    assert "/srv" not in job.error_message
    assert case.charged_tenths == 0
    assert_books_balance(child.services)


def test_a_retry_may_succeed_and_is_charged_once(
    child: Child, case: Case, workshop: Workshop
) -> None:
    workshop.body = raising(EngineFault("once"))
    generate(child, case.job_id, "worker@here")
    workshop.body = lambda request, on_step: None
    generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.job.attempt) == (JobState.SUCCEEDED, 2)
    assert case.job.error_code is None
    assert case.charged_tenths == 30
    assert_books_balance(child.services)


def test_out_of_memory_empties_the_device_and_is_tried_once_more(
    child: Child, case: Case, workshop: Workshop
) -> None:
    workshop.body = raising(OutOfMemory("full"))
    generate(child, case.job_id, "worker@here")
    assert case.job.state is JobState.QUEUED
    assert child.residency.loaded == ()
    assert workshop.engines["sdxl"].unloads == 1
    generate(child, case.job_id, "worker@here")
    job = case.job
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, "gpu_out_of_memory", 2)
    assert_books_balance(child.services)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeviceBroken("an illegal memory access"), "gpu_failed"),
        (RuntimeError("CUDA error: device-side assert triggered"), "gpu_failed"),
        (LoadInterrupted(), "timeout"),
    ],
)
def test_a_process_that_would_fail_every_job_retires_and_the_job_goes_on_elsewhere(
    child: Child, case: Case, workshop: Workshop, error: Exception, code: str
) -> None:
    workshop.body = raising(error)
    for _ in range(2):
        child.retiring.clear()
        generate(child, case.job_id, "worker@here")
        assert (case.job.state, child.retiring.is_set()) == (JobState.QUEUED, True)
    generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.job.error_code, case.job.attempt) == (JobState.FAILED, code, 3)
    assert case.charged_tenths == 0
    child.close()
    assert workshop.engines["sdxl"].unloads == 0, "what is broken is not touched"


def test_a_time_limit_in_the_middle_of_an_import_spoils_the_process(
    child: Child, case: Case, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "imported_by_half"
    raise_it = "from billiard.exceptions import SoftTimeLimitExceeded as S\nraise S\n"
    (tmp_path / f"{name}.py").write_text(raise_it)
    monkeypatch.syspath_prepend(tmp_path)
    workshop.body = lambda request, on_step: void(importlib.import_module(name))
    generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.job.error_code) == (JobState.FAILED, "timeout")
    assert child.retiring.is_set()


def test_other_faults_leave_the_process_in_use(
    child: Child, case: Case, workshop: Workshop
) -> None:
    workshop.body = raising(SoftTimeLimitExceeded())
    generate(child, case.job_id, "worker@here")
    assert not child.retiring.is_set()


def test_a_storage_that_is_away_fails_the_attempt_only(
    child: Child, case: Case, services: Services
) -> None:
    folder = child.services.settings.data / "storage"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder should be")
    generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.charged_tenths) == (JobState.QUEUED, 0)
    folder.unlink()
    generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.charged_tenths) == (JobState.SUCCEEDED, 30)
    assert_books_balance(services)


def test_a_cancelled_job_stops_at_the_next_step_and_costs_nothing(
    child: Child, case: Case, workshop: Workshop
) -> None:
    steps_done: list[int] = []

    def body(request: RunRequest, on_step: OnStep) -> None:
        settle.cancel(child.services.db, case.who.account_id, case.job_id)
        pause = threading.Event()
        for step in range(1, 1000):
            on_step(step, 1000)
            steps_done.append(step)
            pause.wait(0.05)

    workshop.body = body
    generate(child, case.job_id, "worker@here")
    assert len(steps_done) < 200
    assert case.job.state is JobState.CANCELLED
    assert case.charged_tenths == 0
    assert_books_balance(child.services)


def test_a_job_cancelled_after_its_last_step_drops_the_output(
    child: Child, case: Case, workshop: Workshop
) -> None:
    workshop.body = lambda request, on_step: settle.cancel(
        child.services.db, case.who.account_id, case.job_id
    )
    generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.job.output_path) == (JobState.CANCELLED, None)
    assert case.charged_tenths == 0
    assert_books_balance(child.services)


def test_a_child_that_is_ended_hands_its_job_back_uncounted(
    child: Child, case: Case, workshop: Workshop
) -> None:
    workshop.body = raising(SystemExit(-15))
    with pytest.raises(SystemExit):
        generate(child, case.job_id, "worker@here")
    assert case.job.state is JobState.QUEUED
    assert rung(child)()
    workshop.body = lambda request, on_step: None
    for _ in range(2):
        generate(child, case.job_id, "worker@here")
    assert (case.job.state, case.charged_tenths) == (JobState.SUCCEEDED, 30)
    assert_books_balance(child.services)


def test_a_drained_worker_finishes_what_fits_and_starts_nothing_new(
    child: Child, case: Case, workshop: Workshop
) -> None:
    workshop.body = lambda request, on_step: child.drain.begin(grace_s=30)
    generate(child, case.job_id, "worker@here")
    assert case.job.state is JobState.SUCCEEDED
    other = Case(child.services)
    generate(child, other.job_id, "worker@here")
    assert (other.job.state, other.job.attempt) == (JobState.QUEUED, 0)
    due = jobs.due_for_ring(child.services.db, after_s=3600)
    assert [ring.job_id for ring in due] == [other.job_id], "its message is gone: ring soon"


def test_a_drained_worker_hands_back_what_does_not_fit_although_the_engine_hangs(
    child: Child, case: Case, workshop: Workshop, services: Services
) -> None:
    running, handed_back = threading.Event(), threading.Event()

    def body(request: RunRequest, on_step: OnStep) -> None:
        child.drain.begin(grace_s=0.3)
        running.set()
        until(handed_back)  # no step, no Python: a kernel that does not return
        on_step(1, 2)

    def watch() -> None:
        until(running)
        wait_until(lambda: case.job.state is JobState.QUEUED, 10, "it was not handed back")
        handed_back.set()

    workshop.body = body
    watcher = threading.Thread(target=watch)
    watcher.start()
    generate(child, case.job_id, "worker@here")
    watcher.join()
    assert (case.job.state, case.charged_tenths) == (JobState.QUEUED, 0)
    wait_until(rung(child), 10, "it was not rung")
    with services.db.statement() as connection:
        row = connection.execute(text("SELECT attempt, handed_back FROM jobs")).one()
    assert tuple(row) == (1, 1)


def test_the_engine_is_handed_the_pictures_of_its_job(
    child: Child, services: Services, workshop: Workshop
) -> None:
    seen: list[RunRequest] = []
    workshop.body = lambda request, on_step: seen.append(request)
    who = factories.customer(services)
    picture = factories.picture()
    job_id = submit(services, who.principal, factories.edit(image=picture)).job_id
    generate(child, job_id, "worker@here")
    assert [request.inputs for request in seen] == [{"image": picture.data}]
    assert amounts(services, who.account_id) == (50, 0, 50)


def test_a_picture_that_is_gone_is_tried_again_and_costs_nothing(
    child: Child, services: Services
) -> None:
    who = factories.customer(services)
    job_id = submit(services, who.principal, factories.edit(image=factories.picture())).job_id
    services.storage.delete_attempt(job_id, 0)
    for state in (JobState.QUEUED, JobState.QUEUED, JobState.FAILED):
        generate(child, job_id, "worker@here")
        job = views.get_job(services.db, who.account_id, job_id)
        assert (job.state, job.error_code) == (state, "storage_unavailable")
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


@dataclass
class Strict:
    """A judge that refuses everything, or cannot tell."""

    error: Exception | None = None

    def load(self, device: str) -> None:
        if self.error:
            raise self.error

    def refusal(self, artifact: Artifact) -> str | None:
        assert artifact.data == b"picture"
        return "nsfw"

    def unload(self) -> None:
        """Nothing was loaded."""


def test_a_refused_result_is_blocked_not_stored_and_not_charged(
    child: Child, services: Services, case: Case
) -> None:
    generate(replace(child, judge=Strict()), case.job_id, "worker@here")
    assert (case.job.state, case.job.error_code) == (JobState.BLOCKED, "result_refused")
    assert "content policy" in str(case.job.error_message)
    assert "nsfw" not in str(case.job.error_message)
    assert case.charged_tenths == 0
    assert list(services.storage.attempts(FOREVER_S)) == []
    assert_books_balance(services)


def test_a_judge_that_cannot_tell_lets_nothing_pass(
    child: Child, services: Services, case: Case
) -> None:
    blind = replace(child, judge=Strict(WeightsMissing("no classifier")))
    for state in (JobState.QUEUED, JobState.QUEUED, JobState.FAILED):
        generate(blind, case.job_id, "worker@here")
        assert case.job.state is state
    assert case.charged_tenths == 0
    assert list(services.storage.attempts(FOREVER_S)) == []
