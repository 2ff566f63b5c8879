"""Processes that die or are stopped in the middle of things: nothing is lost, nobody pays twice."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import psutil
import pytest

from tests.farm.checks import assert_books_balance, scalar
from tests.flows.whole_farm import (
    FLUX,
    LONG_SDXL,
    TORCH_S,
    WholeFarm,
    lasting_farm,
    visited,
    whole_farm,
)
from tests.processes import Process, wait_until
from tests.services import Databases

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("flows")]


@pytest.fixture(scope="module")
def one_farm(servers_folder: Path, databases: Databases) -> Iterator[WholeFarm]:
    """One farm for all tests here that let its control worker, beat and API live."""
    with lasting_farm(servers_folder / "deaths", databases) as found:
        yield found


@pytest.fixture
def farm(one_farm: WholeFarm) -> Iterator[WholeFarm]:
    """The farm with a new customer; the test starts its workers, and they end with it."""
    with visited(one_farm):
        yield one_farm


def child_of(worker: Process) -> psutil.Process:
    """The process that runs a worker's jobs."""
    children = psutil.Process(worker.pid).children()
    assert len(children) == 1
    return children[0]


def test_a_worker_child_killed_in_a_job_loses_nothing(farm: WholeFarm) -> None:
    worker = farm.start_worker("sdxl")
    before = farm.balance()
    job = farm.submit(LONG_SDXL)
    farm.running(job)
    child_of(worker).send_signal(signal.SIGKILL)
    status = farm.finished(job)
    assert status["status"] == "completed", farm.logs()
    assert farm.column("attempt", job) == 2
    assert before - farm.balance() == 3.0
    assert_books_balance(farm.services)


@pytest.fixture
def own_farm(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[WholeFarm]:
    """A farm of the test's own, whose API it starts."""
    folder = tmp_path / "farm"
    folder.mkdir()
    with whole_farm(folder, postgres_url, redis_url, redis_url) as found:
        found.start("control")
        found.start("beat")
        yield found


def test_an_api_killed_after_the_commit_and_before_the_ring_loses_nothing(
    own_farm: WholeFarm, tmp_path: Path
) -> None:
    farm = own_farm
    farm.start_worker("flux-schnell")
    # This gunicorn's rings reach nobody, as if it always died before it could send them.
    farm.env["BROKER_URL"] = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
    api = farm.start_api()
    farm.env["BROKER_URL"] = farm.services.settings.broker_url

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(farm.submit, FLUX)
        wait_until(lambda: scalar(farm.services, "SELECT count(*) FROM jobs"), 30, api.output)
        for process in api.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        # The answer may have got out before the end.
        with contextlib.suppress(OSError, HTTPException):
            call.result(timeout=30)
    api.wait(10)

    farm.start_api()
    job = str(scalar(farm.services, "SELECT id FROM jobs"))
    assert farm.finished(job)["status"] == "completed", farm.logs()
    assert farm.column("attempt", job) == 1
    assert_books_balance(farm.services)


def test_two_workers_share_a_backlog_and_load_the_model_once_each(farm: WholeFarm) -> None:
    before = farm.balance()
    jobs = [farm.submit(FLUX) for _ in range(40)]
    workers = [farm.start_worker("flux-schnell") for _ in range(2)]
    for job in jobs:
        assert farm.finished(job)["status"] == "completed", farm.logs()
    assert before - farm.balance() == 120.0
    assert max(farm.column("attempt", job) for job in jobs) == 1
    done = [worker.output().count(" succeeded in ") for worker in workers]
    assert min(done) >= 5, f"{done}\n{farm.logs()}"
    assert [worker.output().count("loaded flux-schnell on ") for worker in workers] == [1, 1]
    assert_books_balance(farm.services)


def test_a_worker_that_is_stopped_hands_its_job_to_the_next_one(farm: WholeFarm) -> None:
    first = farm.start_worker("sdxl")
    job = farm.submit(LONG_SDXL)
    farm.running(job)
    started = time.monotonic()
    first.signal(signal.SIGTERM)
    wait_until(lambda: farm.column("handed_back", job) == 1, 10, farm.logs)
    assert first.wait(30) == 0
    assert time.monotonic() - started < 15
    assert farm.column("attempt", job) == 1
    farm.start_worker("sdxl")
    assert farm.finished(job)["status"] == "completed", farm.logs()
    assert farm.column("attempt - handed_back", job) == 1
    assert_books_balance(farm.services)


def test_a_child_that_is_told_to_end_hands_its_job_back(farm: WholeFarm) -> None:
    """As when a service manager sends SIGTERM to a whole control group."""
    worker = farm.start_worker("sdxl")
    job = farm.submit(LONG_SDXL)
    farm.running(job)
    child_of(worker).send_signal(signal.SIGTERM)
    wait_until(lambda: farm.column("handed_back", job) == 1, 30, farm.logs)
    assert farm.finished(job, TORCH_S)["status"] == "completed", farm.logs()
    assert farm.column("attempt - handed_back", job) == 1
