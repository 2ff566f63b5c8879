"""What a worker tells of itself: a real one over its whole life, and a child that is drained."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

from farm import nodes
from farm.broker import make_celery
from farm.dispatch import Dispatcher
from farm.nodes import Node
from farm.services import Services
from farm.submit import submit
from farm.views import get_job
from tasks.child import Child
from tasks.reporter import NodeName
from tests import factories
from tests.processes import running, wait_until

PICTURE = {"width": 512, "height": 512}


def test_a_worker_tells_what_it_serves_holds_and_runs_until_it_ends(
    services: Services, tmp_path: Path
) -> None:
    settings = services.settings
    who = factories.customer(services, plan="scale")
    dispatcher = Dispatcher(make_celery(settings, services.catalog))
    command = [sys.executable, "-m", "farm.cli", "worker", "--queues", "sdxl"]
    environment = {
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": settings.broker_url,
        "FARM_DATA": str(settings.data),
        "FARM_WEIGHTS": "tiny",
        "FARM_DRAIN_S": "1",
        "OMP_NUM_THREADS": "1",
    }

    def one() -> Node | None:
        found = nodes.live_nodes(services.db)
        assert len(found) <= 1
        return found[0] if found else None

    def run(steps: int) -> uuid.UUID:
        ring = submit(services, who.principal, factories.request(steps=steps, **PICTURE)).ring
        dispatcher.ring_now([ring])
        return ring.job_id

    with running(command, tmp_path / "worker.log", env=environment) as worker:
        idle = wait_until(one, 30, worker.output)
        assert idle.name.startswith("worker-any-")
        assert (idle.pid, idle.queues, idle.models) == (worker.pid, ("gpu.sdxl",), {})
        assert {"farm", "python", "torch", "diffusers"} <= set(idle.versions)
        assert idle.memory_bytes > idle.memory_used_bytes > 0

        first = run(steps=1)
        wait_until(
            lambda: get_job(services.db, who.account_id, first).state.is_terminal,
            90,
            worker.output,
        )
        holding = wait_until(lambda: (n := one()) and n.job_id is None and n, 5, worker.output)
        assert holding.models["sdxl"].bytes > 0
        assert holding.models["sdxl"].load_s > 0

        second = run(steps=1000)
        busy = wait_until(lambda: (n := one()) and n.step > 0 and n, 30, worker.output)
        assert (busy.job_id, busy.steps) == (second, 1000)

        # Being drained it is there while its job is, and nobody counts on it.
        worker.signal(signal.SIGTERM)
        wait_until(lambda: (n := one()) is None or n.queues == (), 5, worker.output)
        assert worker.wait(30) == 0
        assert nodes.known_nodes(services.db) == []
    dispatcher.stop()


@dataclass(frozen=True)
class Halfway:
    """A job that does not get further."""

    progress: tuple[int, int] = (5, 10)


def test_a_child_speaks_for_a_parent_that_takes_messages(child: Child, tmp_path: Path) -> None:
    db = child.services.db
    job_id = factories.submitted(child.services, factories.customer(child.services))
    claim = factories.claimed(child.services, job_id)
    with running(["sleep", "60"], tmp_path / "parent.log") as parent:
        parent.signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(parent.pid).status() == "stopped", 5, "not stopped")
        child.reporter.start(NodeName("worker@here", parent.pid, ("gpu.sdxl",), time.monotonic()))
        time.sleep(1.0)
        assert nodes.known_nodes(db) == []

        parent.signal(signal.SIGCONT)
        with child.reporter.running(claim, Halfway()):
            (node,) = wait_until(lambda: nodes.live_nodes(db), 5, "nothing told")
            assert (node.job_id, node.step, node.steps) == (job_id, 5, 10)
            child.drain.begin(60)
            wait_until(lambda: nodes.live_nodes(db)[0].queues == (), 5, "still counted on")
        child.reporter.close()
        assert nodes.known_nodes(db) == []
