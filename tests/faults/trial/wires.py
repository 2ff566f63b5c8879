"""A trial farm whose servers and networks a test may disturb, and how it becomes whole again."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from farm import settle, submit
from farm.types import Idempotency
from tests import factories
from tests.faults.crashes.lane import Lane
from tests.faults.trial.farm import Way
from tests.faults.trial.proxy import Proxy

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
