"""What the control worker does on schedule. Each is bounded, and safe when two run at once."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

from farm import accounts, audit, inputs, jobs, nodes, retention, settle, submit
from farm.broker import messages_waiting
from farm.crash_points import Effect, around
from farm.events import JobEvent
from farm.messages import INTAKE_QUEUE
from farm.types import JobState
from tasks.child import Child

BATCH = 500
BATCHES_MAX = 40
"""A run ends after this many batches; what is left is the next run's."""
_ON_ITS_WAY_S = 3.0
"""A ring may take so long from the database to the broker, a hiccup of the broker's included."""

_log = logging.getLogger(__name__)


def sweep(child: Child) -> int:
    """Ring again where messages were lost; returns for how many jobs.

    A message is one turn of its queue, so only the numbers count: a queue that holds fewer
    messages than jobs wait in it lost some, all of them where the broker was emptied. They are
    made up for at once, not before each has been silent for long. A message that a worker has
    just taken is missing for a moment too; one ring too many makes up for that once, and after
    that the queue has enough, however long its backlog is.

    Raises:
        DatabaseUnavailable, BrokerUnavailable: the next run does what this one could not.
    """
    db, due_s = child.services.db, child.services.settings.rering_after_s
    quiet_s = min(_ON_ITS_WAY_S, due_s)
    # In this order: what is submitted in between has just been rung, what is claimed is no more.
    waiting = messages_waiting(child.celery)
    rung = 0
    for queue, queued in jobs.queued_by_ring(db, quiet_s, due_s).items():
        missing = queued.all - waiting.get(queue, 0)
        lost = min(queued.due, missing)
        if queue == INTAKE_QUEUE:
            # A job counts as queued while its pictures are fetched, and its message is gone.
            rung += _ring_again(child, queue, due_s, lost)
        else:
            on_their_way = queued.all - queued.quiet
            rung += _ring_again(child, queue, quiet_s, max(lost, missing - on_their_way))
    if rung:
        _log.info("rang again for %d jobs", rung)
    return rung


def _ring_again(child: Child, queue: str, after_s: float, count: int) -> int:
    """Ring for so many jobs of a queue that were not rung for so long; returns for how many."""
    rung = 0
    for _ in range(BATCHES_MAX):
        if rung >= count:
            break
        due = jobs.due_for_ring(child.services.db, after_s, min(count - rung, BATCH), queue)
        child.dispatcher.ring_now(due)
        rung += len(due)
        if not due:
            break
    return rung


def reap(child: Child) -> int:
    """Take back jobs whose worker went silent, end those that waited too long to start.

    Returns how many jobs were moved. Raises DatabaseUnavailable, BrokerUnavailable.
    """
    settings, db = child.services.settings, child.services.db
    moved = 0
    for _ in range(BATCHES_MAX):
        reaped = settle.reap(db, settings.attempts_max, BATCH)
        expired = settle.expire_queued(db, settings.start_within_s, BATCH)
        child.dispatcher.ring_now(reaped.rings)
        _tell(child, JobState.QUEUED, [ring.job_id for ring in reaped.rings])
        _tell(child, JobState.FAILED, reaped.ended)
        _tell(child, JobState.EXPIRED, expired)
        taken = len(reaped.rings) + len(reaped.ended)
        moved += taken + len(expired)
        if taken < BATCH and len(expired) < BATCH:
            break
    if moved:
        _log.info("took back or expired %d jobs", moved)
    return moved


def clean(child: Child) -> int:
    """Delete outputs past their day and the inputs of ended jobs, forget old Idempotency-Keys.

    Returns how many files went.

    Raises:
        DatabaseUnavailable, StorageUnavailable: what was done so far stays done.
    """
    db, storage = child.services.db, child.services.storage
    deleted = 0
    for _ in range(BATCHES_MAX):
        gone = retention.delete_expired_outputs(db, storage, BATCH)
        spent = inputs.delete_spent(db, storage, BATCH)
        forgotten = submit.forget_old_keys(db, BATCH)
        deleted += gone + spent
        if max(gone, spent, forgotten) < BATCH:
            break
    nodes.forget_silent(db)
    return deleted


def orphans(child: Child) -> int:
    """Delete files of attempts that never settled. Raises as ``clean`` does."""
    return retention.sweep_orphans(child.services.db, child.services.storage)


def renew(child: Child) -> int:
    """Give a fresh monthly grant where a month ended; returns to how many accounts."""
    renewed = 0
    for _ in range(BATCHES_MAX):
        with around(Effect.MONTH), child.services.db.transaction() as connection:
            done = accounts.renew_due_accounts(connection, child.services.catalog, BATCH)
        renewed += done
        if done < BATCH:
            break
    return renewed


def audit_books(child: Child) -> int:
    """Check the books and keep the findings; returns how many invariants are broken."""
    broken = [finding for finding in audit.audit(child.services) if not finding.holds]
    for finding in broken:
        _log.error("the books are wrong: %s; first: %s", finding.sentence, finding.example)
    return len(broken)


def _tell(child: Child, state: JobState, job_ids: Sequence[uuid.UUID]) -> None:
    for job_id in job_ids:
        child.announcer.tell(JobEvent(job_id, state, attempt=_UNKNOWN_ATTEMPT))


# Whoever hears of it looks at the job, which says.
_UNKNOWN_ATTEMPT = 0
