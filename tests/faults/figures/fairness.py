"""How long a customer who comes now and then waits behind another one's flood of jobs.

The light customer asks for one picture after another, first on an idle farm and then behind the
jobs of somebody else on the same plan, on the same two workers. A wait is from the submit's commit
to the job's end, by the database's clock.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from farm import settle
from farm.batches import submit_batch
from farm.broker import make_celery
from farm.dispatch import Dispatcher
from tests import factories
from tests.factories import Customer
from tests.faults.trial.farm import TrialFarm, customer, trial_farm
from tests.faults.trial.oracle import written
from tests.processes import wait_until

RUN_S = 0.3
"""What every job takes."""
WORKERS = ("worker", "worker-2")
_TOGETHER = 16
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Fairness:
    """The light customer's waits, seconds: on an idle farm, and behind ``flood`` jobs of which
    some were ``left`` at the end; and what is wrong with the books."""

    alone: tuple[float, ...]
    behind: tuple[float, ...]
    flood: int
    left: int
    complaints: tuple[str, ...]
    took_s: float

    @property
    def ratio(self) -> float:
        """How many times as long the slowest but one in twenty waits."""
        return percentile(self.behind, 95) / percentile(self.alone, 95)

    @property
    def told(self) -> str:
        """For people."""
        return (
            f"{self.ratio:.2f} × (p95 {percentile(self.behind, 95):.2f} s of {len(self.behind)} "
            f"behind {self.flood:,} jobs, {percentile(self.alone, 95):.2f} s of "
            f"{len(self.alone)} alone); {len(self.complaints)} violations"
        )


def measure(
    folder: Path, *, flood: int = 1000, rounds: int = 40, database_url: str = ""
) -> Fairness:
    """Measure on a farm of its own.

    Args:
        flood: how many jobs of the heavy customer wait when the light one comes.
        rounds: how many jobs the light one has, alone and then behind the flood.
    """
    began = time.monotonic()
    with trial_farm(folder, database_url=database_url) as farm:
        farm.keep(*WORKERS)
        side = _Side(farm, Dispatcher(make_celery(farm.services.settings, farm.services.catalog)))
        light, heavy = customer(farm.services), customer(farm.services)
        # The first jobs of a worker take longer than all later ones.
        side.order(light, 4 * len(WORKERS))
        wait_until(lambda: not side.live(), _PATIENCE_S, farm.logs)
        alone = tuple(side.waited(light) for _ in range(rounds))
        side.order(heavy, flood)
        behind = tuple(side.waited(light) for _ in range(rounds))
        rest = side.live()
        for job_id in rest:
            settle.cancel(farm.services.db, None, job_id)
        side.dispatcher.stop()
        complaints = tuple(written(farm.services))
    assert len(rest) > len(WORKERS), f"{rounds} jobs outlasted a flood of {flood}"
    return Fairness(alone, behind, flood, len(rest), complaints, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Side:
    """Orders that go past the API, straight into the database and the broker."""

    farm: TrialFarm
    dispatcher: Dispatcher

    def order(self, who: Customer, number: int) -> list[uuid.UUID]:
        """That many jobs of a customer, rung for; their ids."""
        request = factories.request(prompt=f"run={RUN_S} steps=3", width=512, height=512)
        made = []
        while len(made) < number:
            size = min(_TOGETHER, number - len(made))
            batch = submit_batch(self.farm.services, who.principal, [request] * size)
            self.dispatcher.ring_now(batch.rings)
            made += [job.job_id for job in batch.jobs]
        return made

    def waited(self, who: Customer) -> float:
        """Order one job; how long it was there before it had succeeded."""
        [job_id] = self.order(who, 1)
        seconds = wait_until(lambda: self._ended_after(job_id), _PATIENCE_S, self.farm.logs)
        assert seconds is not None
        return seconds

    def live(self) -> list[uuid.UUID]:
        """The jobs that wait or run."""
        db = self.farm.services.db
        return list(db.attempt(lambda c: c.execute(_LIVE).scalars().all()))

    def _ended_after(self, job_id: uuid.UUID) -> float | None:
        values = {"id": job_id}
        found = self.farm.services.db.attempt(lambda c: c.execute(_ENDED_AFTER, values).scalar())
        return None if found is None else float(found)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of the values which so many of a hundred do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


_LIVE = text("SELECT id FROM jobs WHERE state IN ('queued', 'running')")
_ENDED_AFTER = text(
    "SELECT extract(epoch FROM finished_at - created_at) FROM jobs "
    "WHERE id = :id AND state = 'succeeded'"
)
