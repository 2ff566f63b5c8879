"""With RabbitMQ as the broker the same holds: whatever was accepted is run, and charged once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from farm.broker import make_celery
from tests.faults.figures import flaps
from tests.faults.trial.farm import TrialFarm, customer, trial_farm
from tests.faults.trial.oracle import Oracle
from tests.faults.trial.proxy import Proxy
from tests.flows.rabbitmq import RabbitMQ, server_command, start_rabbitmq
from tests.processes import wait_until

JOBS = 5
QUEUE = "gpu.sdxl"

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("faults-rabbitmq")]


@dataclass
class Rabbit:
    """A farm on a RabbitMQ that its processes reach past a proxy, and the test without one."""

    farm: TrialFarm
    server: RabbitMQ
    way: Proxy
    celery: Celery

    def channel(self, act: Callable[[Any], object]) -> None:
        """Do something on a channel."""
        with self.celery.connection_for_write() as connection:
            act(connection.default_channel)


@pytest.fixture(scope="module")
def rabbit(servers_folder: Path) -> Iterator[Rabbit]:
    with contextlib.ExitStack() as stack:
        folder = servers_folder / "rabbit"
        server = stack.enter_context(start_rabbitmq(server_command(), folder / "server"))
        way = stack.enter_context(Proxy(("127.0.0.1", server.port)))
        url = server.url.replace(str(server.port), str(way.port))
        farm = stack.enter_context(trial_farm(folder / "farm", broker_url=url))
        farm.keep("api", "control", "beat", "worker")
        settings = farm.services.settings.model_copy(update={"broker_url": server.url})
        yield Rabbit(farm, server, way, make_celery(settings, farm.services.catalog))


def _restarted(rabbit: Rabbit) -> None:
    rabbit.server.kill()
    rabbit.server.start()


def _cut(rabbit: Rabbit) -> None:
    assert rabbit.way.cut() > 0


def _purged(rabbit: Rabbit) -> None:
    rabbit.channel(lambda channel: channel.queue_purge(QUEUE))


def _deleted(rabbit: Rabbit) -> None:
    rabbit.channel(lambda channel: channel.queue_delete(QUEUE))


def _worker_killed(rabbit: Rabbit) -> None:
    rabbit.farm.keeper.process("worker").signal(signal.SIGKILL)


@pytest.mark.parametrize("befalls", [_cut, _purged, _deleted, _worker_killed, _restarted])
def test_what_waited_is_run(rabbit: Rabbit, befalls: Callable[[Rabbit], None]) -> None:
    farm = rabbit.farm
    farm.who = customer(farm.services)
    oracle = Oracle(farm)
    running = oracle.submit("run=1.5 steps=20")
    wait_until(lambda: farm.column("state", running) == "running", 30, farm.logs)
    with ThreadPoolExecutor(JOBS) as clients:
        list(clients.map(lambda _: oracle.submit(), range(JOBS)))
    befalls(rabbit)
    ends = oracle.check()
    assert set(ends.states) == {"succeeded"}


def test_everybody_is_back_soon_after_a_flap(rabbit: Rabbit) -> None:
    found = flaps.measure(rabbit.farm, rabbit.way, flaps=1, celery=rabbit.celery)
    assert found.worst_s <= 15, found.told
