"""A real Celery prefork worker on a real Redis: which queue it takes from, when it gives up."""

from __future__ import annotations

import itertools
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from farm.broker import make_celery, messages_waiting
from farm.catalog import BUILT_IN, Catalog, load_catalog
from farm.config import Settings
from farm.dispatch import Dispatcher
from farm.messages import Ring
from farm.services import build_services
from farm.submit import submit
from farm.types import JobRequest
from farm.views import JobView, get_job
from tests import factories
from tests.farm.checks import amounts, assert_books_balance
from tests.processes import Process, running, wait_until

StartWorker = Callable[..., Process]
_RECEIVED = re.compile(r"Task farm\.generate\[(\S+)\] received")


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    """Start ``farm worker``; FARM_ settings as keyword arguments."""
    with ExitStack() as stack:

        def start(**env: str) -> Process:
            return stack.enter_context(
                running(
                    [sys.executable, "-m", "farm.cli", "worker"],
                    tmp_path / "worker.log",
                    env={
                        "DATABASE_URL": settings.database_url,
                        "BROKER_URL": settings.broker_url,
                        "FARM_DATA": str(settings.data),
                        "FARM_WEIGHTS": "tiny",
                        **env,
                    },
                )
            )

        yield start


def received(worker: Process) -> list[str]:
    """The ids of the messages a worker took, in order."""
    return _RECEIVED.findall(worker.output())


def switches(order: list[str]) -> int:
    return sum(a != b for a, b in itertools.pairwise(order))


def test_300_mixed_jobs_over_three_queues_need_few_switches(
    settings: Settings, start_worker: StartWorker, catalog: Catalog
) -> None:
    """The messages are of jobs that do not exist: a worker drops each after two queries."""
    dispatcher = Dispatcher(make_celery(settings, catalog))
    queues = catalog.queues[:3]
    queue_of: dict[str, str] = {}
    rings = []
    for number in range(300):
        ring = Ring(uuid.uuid4(), queues[number % 3], 6)
        queue_of[str(ring.job_id)] = ring.queue
        rings.append(ring)
    dispatcher.ring_now(rings)
    worker = start_worker()
    wait_until(lambda: len(received(worker)) == 300, 60, worker.output)
    dispatcher.stop()
    order = [queue_of[job_id] for job_id in received(worker)]
    assert switches(order) <= 4


def test_a_queue_beside_a_long_backlog_is_served_within_the_bound(
    settings: Settings, start_worker: StartWorker
) -> None:
    catalog = load_catalog()
    celery = make_celery(settings, catalog)
    dispatcher = Dispatcher(celery)
    backlog = [Ring(uuid.uuid4(), "gpu.sdxl", 6) for _ in range(6000)]
    dispatcher.ring_now(backlog)
    worker = start_worker(FARM_SWITCH_AFTER_S="1")
    wait_until(lambda: received(worker), 60, worker.output)
    other = Ring(uuid.uuid4(), "gpu.flux-schnell", 6)
    dispatcher.ring_now([other])
    wait_until(lambda: messages_waiting(celery)["gpu.flux-schnell"] == 0, 10, worker.output)
    assert messages_waiting(celery)["gpu.sdxl"] > 0
    dispatcher.stop()


def test_a_job_over_its_models_time_limit_is_stopped_and_costs_nothing(
    settings: Settings, start_worker: StartWorker, tmp_path: Path
) -> None:
    text = BUILT_IN.read_text(encoding="utf-8")
    path = tmp_path / "catalog.toml"
    path.write_text(
        text.replace("soft_limit_s = 300", "soft_limit_s = 1").replace(
            "hard_limit_s = 330", "hard_limit_s = 60"
        ),
        encoding="utf-8",
    )
    services = build_services(settings.model_copy(update={"catalog": path}))
    who = factories.customer(services)
    dispatcher = Dispatcher(make_celery(settings, services.catalog))
    worker = start_worker(FARM_CATALOG=str(path))

    def ended(request: JobRequest) -> JobView:
        ring = submit(services, who.principal, request).ring
        dispatcher.ring_now([ring])

        def job() -> JobView:
            return get_job(services.db, who.account_id, ring.job_id)

        wait_until(lambda: job().state.is_terminal, 90, worker.output)
        return job()

    # Imports torch without a limit that matters: an import that is cut short cannot be repeated.
    picture = {"width": 512, "height": 512, "guidance_scale": 1.0}
    assert ended(factories.request("flux-schnell", steps=1, **picture)).state == "succeeded"
    job = ended(factories.request("sdxl", steps=1000, **picture))
    assert (job.state, job.error_code) == ("failed", "timeout"), worker.output()
    assert amounts(services, who.account_id) == (70, 0, 70)
    assert_books_balance(services)
    dispatcher.stop()
    services.dispose()
