"""Engines that hang and processes that are spoilt, in real workers whose broker goes away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from farm.broker import make_celery
from farm.dispatch import Dispatcher
from farm.embedded import start_redis
from farm.submit import submit
from farm.types import JobState
from farm.views import JobView, get_job
from tasks.limits import GRACE_S
from tests import factories
from tests.farm.checks import assert_books_balance
from tests.faults.trial.engine import SLOW_LOAD
from tests.faults.trial.farm import TrialFarm, trial_farm
from tests.faults.trial.proxy import Proxy
from tests.processes import Process, is_alive, wait_until
from tests.services import Databases

SOFT_S, HARD_S = 1, 2
SDXL, FLUX = "sdxl", "flux-schnell"


class Trial:
    """A farm with a worker for each of two models, whose way to Redis may be disturbed."""

    def __init__(self, farm: TrialFarm, way: Proxy) -> None:
        self.farm = farm
        self.way = way
        self.dispatcher = Dispatcher(make_celery(farm.services.settings, farm.services.catalog))
        farm.keep(f"worker.{SDXL}", f"worker.{FLUX}", "control", "beat")

    def worker(self, model: str) -> Process:
        return self.farm.keeper.process(f"worker.{model}")

    def order(self, model: str, prompt: str) -> uuid.UUID:
        """Submit a job and ring for it, past whatever disturbs the workers."""
        request = factories.request(model, prompt=prompt, width=512, height=512)
        found = submit(self.farm.services, self.farm.who.principal, request)
        self.dispatcher.ring_now([found.ring])
        return found.job_id

    def job(self, job_id: uuid.UUID) -> JobView:
        return get_job(self.farm.services.db, self.farm.who.account_id, job_id)

    def pids(self, job_id: uuid.UUID) -> list[int]:
        """The processes in which the job's attempts were started."""
        return [
            pid for what, job, _, pid in self.farm.runs() if (what, job) == ("start", str(job_id))
        ]

    def started(self, job_id: uuid.UUID) -> psutil.Process:
        wait_until(lambda: self.pids(job_id), 20, self.farm.logs)
        return psutil.Process(self.pids(job_id)[-1])

    def ended(self, job_id: uuid.UUID, timeout_s: float = 30.0) -> JobView:
        wait_until(lambda: self.job(job_id).state.is_terminal, timeout_s, self.farm.logs)
        return self.job(job_id)


@pytest.fixture(scope="module")
def trial(servers_folder: Path, databases: Databases) -> Iterator[Trial]:
    folder = servers_folder / "hung"
    with (
        start_redis(servers_folder / "hung-redis") as redis,
        Proxy(next((servers_folder / "hung-redis").rglob("redis.sock"))) as way,
        databases.fresh() as url,
        trial_farm(
            folder,
            database_url=url,
            broker_url=redis.url,
            soft_s=SOFT_S,
            hard_s=HARD_S,
            BROKER_URL=f"redis://127.0.0.1:{way.port}/0",
            FARM_REDIS_URL=f"redis://127.0.0.1:{way.port}/0",
        ) as farm,
    ):
        found = Trial(farm, way)
        yield found
        found.dispatcher.stop()
        assert_books_balance(farm.services)


def assert_no_accident(worker: Process) -> None:
    """To its parent, a child that retires has done its share."""
    assert worker.exit_code() is None
    for word in ("WorkerLostError", "exited with"):
        assert word not in worker.output(), worker.output()


def test_a_load_that_is_cut_short_costs_the_process_and_not_the_next_job(trial: Trial) -> None:
    marker = trial.farm.folder / SLOW_LOAD
    marker.touch()
    job_id = trial.order(FLUX, "run=0")
    worker = trial.worker(FLUX)
    wait_until(lambda: "another takes its place" in worker.output(), 20, trial.farm.logs)
    marker.unlink()
    assert trial.ended(job_id).state is JobState.SUCCEEDED
    assert_no_accident(worker)


def test_after_the_gpu_failed_the_job_runs_in_another_process(trial: Trial) -> None:
    job_id = trial.order(FLUX, "run=0 fail=gpu times=1")
    assert trial.ended(job_id).state is JobState.SUCCEEDED
    first, second = trial.pids(job_id)
    assert first != second
    assert_no_accident(trial.worker(FLUX))


def test_the_soft_limit_comes_after_a_reconnect_too(trial: Trial) -> None:
    job_id = trial.order(SDXL, "run=0 fail=hang")
    trial.started(job_id)
    assert trial.way.cut() > 0
    job = trial.ended(job_id)
    assert (job.state, job.error_code, job.attempt) == (JobState.FAILED, "timeout", 1)


def test_what_hangs_is_ended_while_the_broker_is_away(trial: Trial) -> None:
    jobs = [
        trial.order(SDXL, "run=0 fail=hang times=1"),
        trial.order(FLUX, "run=0 fail=hang-hard times=1"),
    ]
    children = [trial.started(job_id) for job_id in jobs]
    started = time.monotonic()
    trial.way.refuse()
    try:
        wait_until(lambda: not any(map(is_alive, children)), 20, trial.farm.logs)
        assert time.monotonic() - started < HARD_S + GRACE_S + 3
    finally:
        trial.way.heal()
    for job_id, child in zip(jobs, children, strict=True):
        assert trial.ended(job_id, 60).state is JobState.SUCCEEDED
        assert trial.pids(job_id)[-1] != child.pid
