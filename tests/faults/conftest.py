"""One farm for the tests that disturb its servers and its networks; each test leaves it whole."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from farm import settle, submit
from farm.broker import make_celery
from farm.types import Idempotency
from tests import factories
from tests.farm.webhooks.receiver import Receiver
from tests.faults.crash_lane import Lane, Pictures
from tests.faults.crew import crew, crew_of_all  # noqa: F401  # fixtures of two modules
from tests.faults.farm import TrialFarm, Way, customer, trial_farm
from tests.faults.oracle import Oracle
from tests.faults.proxy import Proxy

SOFT_S = 4
"""The soft limit of a run; a finished one may wait for longer than that."""
KEPT = ("api", "control", "beat", "worker")


@dataclass(kw_only=True)
class Wired(Lane):
    """A lane whose farm reaches its servers, and its customer's receiver, past proxies."""

    way: Way
    to_receiver: Proxy

    def heal(self) -> None:
        """Let everything be as it was."""
        self.farm.armoury.disarm()
        for proxy in (self.way.postgres, self.way.redis, self.to_receiver):
            proxy.cut_at(None)
            proxy.latency_s = 0.0
            proxy.heal()
        for server in (self.farm.postgres, self.farm.redis):
            assert server is not None, "the farm has servers of its own"
            server.start()
        # What the test itself has open may lead to a server that was killed.
        self.farm.services.db.dispose()

    def unrung(self, idempotency: Idempotency | None = None) -> uuid.UUID:
        """A queued job of which no message tells; its worker would take it at once."""
        request = factories.request(self.model)
        return submit.submit(self.farm.services, self.who.principal, request, idempotency).job_id

    def forget(self) -> None:
        """Let no job live on that a test which failed has left."""
        found = self.value("SELECT array_agg(id) FROM jobs WHERE state IN ('queued', 'running')")
        for job in found or ():
            settle.cancel(self.farm.services.db, None, job)

    def ended_well(self) -> None:
        """The farm heals, and kept its promises."""
        self.heal()
        for name in KEPT:
            self.farm.ready(name)
        self.oracle.check()


@pytest.fixture(scope="session")
def lasting(servers_folder: Path) -> Iterator[Wired]:
    """The farm of all these tests, and whatever is around it."""
    with contextlib.ExitStack() as stack:
        receiver, pictures = stack.enter_context(Receiver()), stack.enter_context(Pictures())
        to_receiver = stack.enter_context(Proxy(("127.0.0.1", receiver.port)))
        farm = stack.enter_context(
            trial_farm(
                servers_folder / "wires",
                disturbed=True,
                durable=True,
                soft_s=SOFT_S,
                hard_s=30,
                FARM_FETCH_ALLOW=f"{pictures.trust},127.0.0.1:{to_receiver.port}",
            )
        )
        farm.keep(*KEPT)
        celery = make_celery(farm.services.settings, farm.services.catalog)
        assert farm.way is not None
        yield Wired(
            farm, Oracle(farm), receiver, pictures, celery, "api", "sdxl", farm.who,
            way=farm.way, to_receiver=to_receiver,
        )  # fmt: skip


@pytest.fixture
def wired(lasting: Wired) -> Iterator[Wired]:
    """That farm with a customer of this test's own, whose promises are looked at."""
    farm: TrialFarm = lasting.farm
    farm.who = customer(farm.services)
    yield replace(lasting, who=farm.who, oracle=Oracle(farm))
    lasting.heal()
    lasting.forget()
