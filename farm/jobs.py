"""The state machine: who may move a job, and the worker's hold on one.

::

    queued --claim--> running --settle--> succeeded | failed | blocked | cancelled
       |                 |
       |                 `--reap, hand back, retry--> queued
       `--> expired (never started in time) | cancelled | blocked (refused prompt)

Every claim raises ``attempt``; everything a worker does afterwards names that number and
matches no row once somebody else has claimed the job. All clocks are the database's.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from farm.crash_points import Effect, around
from farm.db import Database
from farm.messages import INTAKE_QUEUE, Ring, intake_ring
from farm.types import Claim, JobState

LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {
            JobState.RUNNING,
            JobState.FAILED,
            JobState.BLOCKED,
            JobState.CANCELLED,
            JobState.EXPIRED,
        }
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.BLOCKED,
            JobState.CANCELLED,
        }
    ),
    **{state: frozenset() for state in JobState if state.is_terminal},
}
"""Which state may follow which. The database's trigger holds the same table."""

DEATHS_MAX = 2
"""A job whose worker died this often in a row is the likely cause: it ends as failed."""


def claim(
    db: Database, job_id: uuid.UUID, worker: str, lease_s: float, attempts_max: int
) -> Claim | None:
    """Take a job for one attempt, or None where there is none to be taken: drop the message.

    The message's own job where its lease ran out (its worker is counted as dead). Otherwise a
    message is a turn: the job is the next of that queue by priority and turn, whichever job the
    message was sent for, of those whose inputs are all there.

    Args:
        job_id: the message's job, which names the queue.

    Raises:
        DatabaseUnavailable: nothing was claimed, or the claim will run out by itself.
    """
    values = {
        "id": job_id,
        "worker": worker,
        "lease_s": lease_s,
        "attempts_max": attempts_max,
        "deaths_max": DEATHS_MAX,
    }
    with around(Effect.CLAIM), db.statement() as connection:
        row = connection.execute(_CLAIM, values).one_or_none()
        if row is None:
            row = connection.execute(_CLAIM_WAITING, values).one_or_none()
    if row is None:
        return None
    return Claim(
        job_id=row.id,
        account_id=row.account_id,
        attempt=row.attempt,
        model=row.model,
        operation=row.operation,
        queue=row.queue,
        priority=row.priority,
        params=row.params,
        lease_until=row.lease_until,
        inputs=row.inputs or {},
    )


def heartbeat(
    db: Database, job_id: uuid.UUID, attempt: int, lease_s: float, step: int, steps: int
) -> bool:
    """Renew a lease and report progress. False: the job is no longer this attempt's, stop."""
    with around(Effect.RENEW_LEASE), db.statement() as connection:
        row = connection.execute(
            _HEARTBEAT,
            {"id": job_id, "attempt": attempt, "lease_s": lease_s, "step": step, "steps": steps},
        ).one_or_none()
    return row is not None


def hand_back(db: Database, job_id: uuid.UUID, attempt: int) -> bool:
    """Give a running job back to its queue without the attempt being counted (drain, deploy).

    It becomes due for a ring at once. False when the job is no longer this attempt's.
    """
    with around(Effect.HAND_BACK), db.statement() as connection:
        row = connection.execute(_HAND_BACK, {"id": job_id, "attempt": attempt}).one_or_none()
    return row is not None


def leave_to_sweeper(db: Database, job_id: uuid.UUID) -> None:
    """Make a queued job due for the next sweep: a message was taken and cannot be served.

    The message's own job, or another one of its queue where that one has begun with another's.
    """
    with around(Effect.LEAVE), db.statement() as connection:
        connection.execute(_UNRUNG, {"id": job_id})


def due_for_ring(db: Database, after_s: float, limit: int = 500, queue: str = "") -> list[Ring]:
    """Queued jobs that nobody has rung for ``after_s`` seconds, marked as rung now; the longest
    silence first. Those of one queue, or of every queue.

    Safe when two callers run: each row goes to one of them.
    """
    values = {"after_s": after_s, "limit": limit, "queue": queue}
    with around(Effect.SWEEP), db.statement() as connection:
        rows = connection.execute(_DUE, values).all()
    return [
        Ring(row.id, row.queue, row.priority) if row.ready else intake_ring(row.id, row.priority)
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Queued:
    """How many jobs wait in a queue: all of them, those that nobody has rung for a moment, and
    those that nobody has rung for a long time."""

    all: int
    quiet: int
    due: int


def queued_by_ring(db: Database, quiet_s: float, due_s: float) -> dict[str, Queued]:
    """The queued jobs of each queue by the time since they were rung; empty queues are left out.
    Those that wait for inputs are intake's."""
    with db.statement() as connection:
        rows = connection.execute(_BY_RING, {"quiet_s": quiet_s, "due_s": due_s}).all()
    return {row.queue: Queued(row.n, row.quiet, row.due) for row in rows}


def oldest_wait(db: Database, queues: Sequence[str]) -> dict[str, float]:
    """Seconds that the oldest queued job of each queue has waited; empty queues are left out."""
    with db.statement() as connection:
        rows = connection.execute(_OLDEST, {"queues": list(queues)}).all()
    return {row.queue: float(row.seconds) for row in rows}


def depths(db: Database) -> dict[tuple[str, JobState], int]:
    """How many live jobs each queue has, by state; those that wait for inputs are intake's."""
    with db.statement() as connection:
        rows = connection.execute(_DEPTHS).all()
    return {(row.queue, JobState(row.state)): row.n for row in rows}


# One job at most: that of the message where its lease ran out, else the next of its queue. A
# newcomer of the same line begins where the highest turn is that was served.
_CLAIM_SQL = """
    WITH lapsed AS (
        SELECT id FROM jobs
        WHERE id = :id AND state = 'running' AND lease_until < now()
          AND attempt - handed_back < :attempts_max AND deaths + 1 < :deaths_max
        FOR UPDATE SKIP LOCKED
    )
    , next AS (
        SELECT id FROM jobs
        WHERE queue = (SELECT queue FROM jobs WHERE id = :id) AND state = 'queued' AND ready
          AND attempt - handed_back < :attempts_max AND NOT EXISTS (SELECT 1 FROM lapsed)
        ORDER BY priority, turn, queued_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    , job AS (
        UPDATE jobs SET state = 'running', attempt = attempt + 1, worker = :worker,
            deaths = deaths + CASE WHEN state = 'running' THEN 1 ELSE 0 END,
            lease_until = now() + :lease_s * interval '1 second',
            started_at = now(), step = 0, steps = 0
        FROM (SELECT id FROM lapsed UNION ALL SELECT id FROM next) AS taken
        WHERE jobs.id = taken.id
        RETURNING jobs.id, account_id, attempt, model, operation, queue, priority, turn, params,
            lease_until
    )
    , line AS (
        INSERT INTO lines (queue, priority, turn) SELECT queue, priority, turn FROM job
        ON CONFLICT (queue, priority) DO UPDATE SET turn = excluded.turn
        WHERE lines.turn < excluded.turn
    )
    SELECT job.*,
        (SELECT jsonb_object_agg(name, key) FROM inputs WHERE inputs.job_id = job.id) AS inputs
    FROM job
"""
_CLAIM = text(_CLAIM_SQL)
# Somebody may only just look at the last job of a queue; nothing else would lead to it soon.
_CLAIM_WAITING = text(_CLAIM_SQL.replace("FOR UPDATE SKIP LOCKED", "FOR UPDATE"))
_HEARTBEAT = text(
    """
    UPDATE jobs SET lease_until = now() + :lease_s * interval '1 second',
        step = :step, steps = :steps
    WHERE id = :id AND attempt = :attempt AND state = 'running' RETURNING id
    """
)
_HAND_BACK = text(
    """
    UPDATE jobs SET state = 'queued', lease_until = NULL, worker = NULL, queued_at = now(),
        rung_at = NULL, handed_back = handed_back + 1, step = 0, steps = 0
    WHERE id = :id AND attempt = :attempt AND state = 'running' RETURNING id
    """
)
_UNRUNG = text(
    """
    WITH one AS (
        SELECT id FROM jobs
        WHERE queue = (SELECT queue FROM jobs WHERE id = :id) AND state = 'queued' AND ready
          AND rung_at IS NOT NULL
        ORDER BY id <> :id, rung_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs SET rung_at = NULL FROM one WHERE jobs.id = one.id
    """
)
_DUE = text(
    f"""
    WITH due AS (
        SELECT id FROM jobs WHERE state = 'queued'
          AND (rung_at IS NULL OR rung_at < now() - :after_s * interval '1 second')
          AND (:queue = '' OR :queue = CASE WHEN ready THEN queue ELSE '{INTAKE_QUEUE}' END)
        ORDER BY rung_at NULLS FIRST LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs SET rung_at = now() FROM due WHERE jobs.id = due.id
    RETURNING jobs.id, jobs.queue, jobs.priority, jobs.ready
    """
)
_BY_RING = text(
    f"""
    SELECT CASE WHEN ready THEN queue ELSE '{INTAKE_QUEUE}' END AS queue, count(*) AS n,
        count(*) FILTER (WHERE rung_at < now() - :quiet_s * interval '1 second'
                         OR rung_at IS NULL) AS quiet,
        count(*) FILTER (WHERE rung_at < now() - :due_s * interval '1 second'
                         OR rung_at IS NULL) AS due
    FROM jobs WHERE state = 'queued' GROUP BY 1
    """
)
_OLDEST = text(
    """
    SELECT q.queue, extract(epoch FROM now() - oldest.queued_at) AS seconds
    FROM unnest(CAST(:queues AS text[])) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT queued_at FROM jobs WHERE state = 'queued' AND jobs.queue = q.queue
        ORDER BY queued_at LIMIT 1
    ) AS oldest
    """
)
# Two halves, because each has a partial index of its own and IN has none.
_DEPTHS = text(
    f"SELECT CASE WHEN ready THEN queue ELSE '{INTAKE_QUEUE}' END AS queue, state, count(*) AS n "
    "FROM jobs WHERE state = 'queued' GROUP BY 1, state "
    "UNION ALL "
    "SELECT queue, state, count(*) AS n FROM jobs WHERE state = 'running' GROUP BY queue, state"
)
