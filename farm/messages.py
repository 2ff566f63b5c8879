"""The whole protocol between the farm's processes, on one page.

PostgreSQL holds every job; a message only says "look at this one" and may be lost, doubled,
late or out of order. A ``GENERATE`` message is rung on the model's own queue, a ``FETCH`` one
on the intake queue. Its Celery task id is the job's id, which is all it says: it has no
arguments. The others have no arguments either; beat sends them on the schedule in
``tasks/beat.py``, to the control queue or, for ``WEBHOOKS``, to that one's own. Only a
``CANARY`` is sent by the control worker, to every queue there is.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

CONTROL_QUEUE = "control"
INTAKE_QUEUE = "intake"
"""Jobs whose pictures are still to be fetched wait here, before their model's own queue."""
INTAKE_PRIORITY = 3
WEBHOOKS_QUEUE = "webhooks"
"""Beat asks here for a process that sends webhooks; no job waits here."""

GENERATE = "farm.generate"
"""Claim the next job of the queue of the job whose id this message bears, run it, settle it."""

FETCH = "farm.fetch"
"""Fetch the inputs of the job whose id this message bears, then ring its model's queue."""

SWEEP = "farm.sweep"
"""Ring again for queued jobs whose message may have been lost."""

REAP = "farm.reap"
"""Take back jobs whose worker went silent; end those that waited too long to start."""

CLEAN = "farm.clean"
"""Delete outputs past their day and spent inputs; forget old Idempotency-Keys."""

ORPHANS = "farm.orphans"
"""Delete stored files that no settled attempt owns."""

RENEW = "farm.renew"
"""Give a fresh monthly grant to accounts whose month ended."""

AUDIT = "farm.audit"
"""Check the books and write down what was found."""

WEBHOOKS = "farm.webhooks"
"""Send the webhooks that are due, for some minutes, where no other process does."""

CANARIES = "farm.canaries"
"""Send a canary down every queue whose last one came back."""

CANARY = "farm.canary"
"""Say that this message came out of its queue. Control sends it, to any queue."""

TASKS = (
    GENERATE,
    FETCH,
    SWEEP,
    REAP,
    CLEAN,
    ORPHANS,
    RENEW,
    AUDIT,
    WEBHOOKS,
    CANARIES,
    CANARY,
)


@dataclass(frozen=True, slots=True)
class Ring:
    """Which job to ring for, and where. ``priority`` is the farm's own: 0 first, 9 last."""

    job_id: uuid.UUID
    queue: str
    priority: int

    @property
    def task(self) -> str:
        """The task that this ring asks for: what the queue is there for."""
        return FETCH if self.queue == INTAKE_QUEUE else GENERATE


def intake_ring(job_id: uuid.UUID, priority: int) -> Ring:
    """A ring for a job whose inputs are to be fetched.

    Never among the first: the control queue, which the same worker serves, goes before.
    """
    return Ring(job_id, INTAKE_QUEUE, max(priority, INTAKE_PRIORITY))
