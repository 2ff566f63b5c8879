"""Jobs sent straight into a farm, past its HTTP, and what became of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from farm.dispatch import Dispatcher
from farm.messages import Ring
from farm.submit import submit
from tests import factories
from tests.bench.stage import Farm
from tests.processes import wait_until

WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Submit:
    """One job to submit."""

    customer: factories.Customer
    model: str = "sdxl"


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that succeeded; times are the database's, in seconds of the epoch."""

    model: str
    created: float
    started: float
    ended: float


def submitted(farm: Farm, dispatcher: Dispatcher, jobs: Sequence[Submit]) -> list[uuid.UUID]:
    """Submit jobs, then ring for all of them at once; their ids."""
    accepted = [
        submit(farm.services, job.customer.principal, factories.request(job.model)) for job in jobs
    ]
    dispatcher.ring_now([Ring(s.job_id, s.queue, s.priority) for s in accepted])
    return [s.job_id for s in accepted]


def finished(farm: Farm, job_ids: Sequence[uuid.UUID]) -> list[Finished]:
    """Wait until all these jobs have succeeded; in the order in which they ran."""

    def done() -> list[Finished]:
        with farm.services.db.statement() as connection:
            rows = connection.execute(_DONE, {"ids": list(job_ids)}).all()
        return [Finished(*row) for row in rows]

    wait_until(lambda: len(done()) == len(job_ids), WAIT_S, f"the end of {len(job_ids)} jobs")
    return done()


_DONE = text(
    """
    SELECT model, extract(epoch FROM created_at)::double precision,
        extract(epoch FROM started_at)::double precision,
        extract(epoch FROM finished_at)::double precision
    FROM jobs WHERE id = ANY(:ids) AND state = 'succeeded' ORDER BY started_at
    """
)
