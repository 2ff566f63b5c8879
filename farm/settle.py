"""The way out: a job's end, its money, its webhooks, in one statement. The reaper's as well.

``succeed`` charges, everything else releases, and both name the attempt: a worker whose job
was taken over, cancelled or already settled matches no row and changes nothing. That makes
each call safe to repeat, so a database that goes away in the middle of a COMMIT is asked
again until it says how it ended.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, text
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from farm import ledger
from farm.crash_points import Effect, around
from farm.db import Database
from farm.errors import DatabaseUnavailable, NotFound, OutOfMemory
from farm.jobs import DEATHS_MAX
from farm.messages import Ring
from farm.types import Claim, JobState, StoredOutput
from farm.webhooks import outbox

T = TypeVar("T")

PATIENCE_S = 120.0
"""How long a worker keeps a finished result while PostgreSQL is away."""
RESTART_GRACE_S = 5
"""After PostgreSQL has started, how long a lease that ran out before is left to its worker, which
tries to renew it every second."""

_CRASH = "The worker stopped twice while it ran this job. Nothing was charged."
_SPENT = "The job was tried {n} times without success. Nothing was charged."


def succeed(
    db: Database,
    claim: Claim,
    output: StoredOutput,
    *,
    facts: Mapping[str, Any],
    served_by: str,
    processing_ms: int,
    ttl_s: float,
    patience_s: float = PATIENCE_S,
) -> bool:
    """Settle a durable output: state, charge and output in one transaction.

    Returns False when the job is no longer this attempt's: drop the output.

    Raises:
        DatabaseUnavailable: it stayed away for ``patience_s``; the lease will run out.
    """
    values = {
        "id": claim.job_id,
        "attempt": claim.attempt,
        "facts": json.dumps(dict(facts)),
        "served_by": served_by,
        "processing_ms": processing_ms,
        "key": output.key,
        "path": output.public_path,
        "sha256": output.sha256,
        "bytes": output.size_bytes,
        "type": output.media_type,
        "ttl_s": ttl_s,
    }

    def work(connection: Connection) -> bool:
        if connection.execute(_SUCCEED, values).scalar() is not None:
            return True
        # No row moved. Either somebody else has the job, or this very call was committed
        # before and its answer lost: the job's own row tells which.
        return connection.execute(_SETTLED_BY, values).scalar() is not None

    with around(Effect.SETTLE):
        return _patiently(lambda: db.attempt(work), patience_s)


def fail(
    db: Database,
    claim: Claim,
    code: str,
    message: str,
    *,
    retry: bool,
    attempts_max: int,
    patience_s: float = PATIENCE_S,
) -> JobState | None:
    """End an attempt that broke: back to the queue while attempts are left, else failed.

    Running out of memory is retried once, whatever the number of attempts. Returns the new
    state, or None when the job is no longer this attempt's.

    Raises:
        DatabaseUnavailable: it stayed away for ``patience_s``; the lease will run out.
    """
    out_of_memory = code == OutOfMemory.code
    values = {
        "id": claim.job_id,
        "attempt": claim.attempt,
        "code": code,
        "message": message,
        "attempts_max": attempts_max,
        "memory": int(out_of_memory),
    }

    def work(connection: Connection) -> JobState | None:
        if retry and connection.execute(_REQUEUE, values).scalar() is not None:
            return JobState.QUEUED
        if connection.execute(_FAIL, values).scalar() is not None:
            return JobState.FAILED
        return None

    with around(Effect.FAIL):
        return _patiently(lambda: db.attempt(work), patience_s)


def block(
    db: Database, claim: Claim, code: str, message: str, *, patience_s: float = PATIENCE_S
) -> bool:
    """End an attempt whose result the content policy refuses. False: no longer this attempt's.

    Raises:
        DatabaseUnavailable: it stayed away for ``patience_s``; the lease will run out.
    """
    values = {"id": claim.job_id, "attempt": claim.attempt, "code": code, "message": message}
    with around(Effect.BLOCK):
        return _patiently(
            lambda: db.attempt(lambda c: c.execute(_BLOCK, values).scalar() is not None), patience_s
        )


def cancel(db: Database, account_id: uuid.UUID | None, job_id: uuid.UUID) -> JobState:
    """Cancel a live job and give its hold back; ``account_id`` None is the operator.

    Returns the state the job is in afterwards: ``cancelled``, or how it had already ended.
    Cancelling twice changes nothing. The worker that runs it hears of it from
    :mod:`farm.events`, or from its next heartbeat.

    Raises:
        NotFound: no such job, or another account's.
    """
    values = {"id": job_id, "account": account_id}

    def work(connection: Connection) -> JobState:
        connection.execute(_CANCEL, values)
        state = connection.execute(_STATE, values).scalar()
        if state is None:
            raise NotFound("No such job.")
        return JobState(state)

    with around(Effect.CANCEL):
        return db.attempt(work)


def freed(db: Database, claim: Claim) -> bool:
    """Note when the worker of a cancelled job had stopped. False: it was not cancelled."""
    values = {"id": claim.job_id, "attempt": claim.attempt}
    with around(Effect.FREED):
        return db.attempt(lambda c: c.execute(_FREED, values).scalar() is not None)


@dataclass(frozen=True, slots=True)
class Reaped:
    """Jobs that were taken back: to be rung again, and those that ended, by id."""

    rings: list[Ring]
    ended: list[uuid.UUID]


def reap(db: Database, attempts_max: int, limit: int = 100) -> Reaped:
    """Take back jobs whose lease ran out: to be rung again, or failed when their turns are spent.

    Safe when two run: each job goes to one of them.
    """
    rings, ended = [], []
    with around(Effect.REAP), db.transaction() as connection:
        rows = connection.execute(_LAPSED, {"limit": limit}).all()
        for row in sorted(rows, key=_by_account):
            tries = row.attempt - row.handed_back
            values = {"id": row.id, "attempt": row.attempt}
            if row.deaths + 1 >= DEATHS_MAX:
                connection.execute(_BURY, values | {"code": "worker_crash", "message": _CRASH})
                ended.append(row.id)
            elif tries >= attempts_max:
                message = _SPENT.format(n=tries)
                connection.execute(_BURY, values | {"code": "worker_crash", "message": message})
                ended.append(row.id)
            else:
                connection.execute(_REVIVE, values)
                rings.append(Ring(row.id, row.queue, row.priority))
    return Reaped(rings, ended)


def expire_queued(db: Database, start_within_s: float, limit: int = 100) -> list[uuid.UUID]:
    """End jobs that waited too long to start; their holds go back. Returns which."""
    expired = []
    with around(Effect.EXPIRE), db.transaction() as connection:
        values = {"start_within_s": start_within_s, "limit": limit}
        for row in sorted(connection.execute(_OVERDUE, values).all(), key=_by_account):
            connection.execute(_EXPIRE, {"id": row.id, "message": _TOO_LATE})
            expired.append(row.id)
    return expired


def _by_account(row: Row[Any]) -> uuid.UUID:
    """The order in which a sweep locks accounts: two at once then never wait for each other."""
    account_id: uuid.UUID = row.account_id
    return account_id


_TOO_LATE = "The job could not be started in time. Nothing was charged. Send it again later."


def _patiently(work: Callable[[], T], patience_s: float) -> T:
    retrying = Retrying(
        retry=retry_if_exception_type(DatabaseUnavailable),
        wait=wait_exponential(multiplier=0.1, max=5),
        stop=stop_after_delay(patience_s),
        reraise=True,
    )
    return retrying(work)


def _end_sql(state: str, condition: str, *, code: str = ":code") -> str:
    """End one job without success: its state, its hold and its webhooks in one statement."""
    return f"""
    WITH job AS (
        UPDATE jobs SET state = '{state}', finished_at = now(), lease_until = NULL,
            error_code = {code}, error_message = :message,
            deaths = deaths + CASE WHEN state = 'running' AND lease_until < now() THEN 1 ELSE 0 END
        WHERE id = :id AND {condition} RETURNING {outbox.JOB}
    )
    {ledger.RELEASE}
    {outbox.TELL}
    SELECT id FROM job
    """


_SUCCEED = text(
    f"""
    WITH job AS (
        UPDATE jobs SET state = 'succeeded', finished_at = now(), lease_until = NULL,
            settled_attempt = attempt, deaths = 0, step = steps, error_code = NULL,
            error_message = NULL, facts = CAST(:facts AS jsonb), served_by = :served_by,
            processing_ms = :processing_ms, output_key = :key, output_path = :path,
            output_sha256 = :sha256, output_bytes = :bytes, output_type = :type,
            output_expires_at = now() + :ttl_s * interval '1 second'
        WHERE id = :id AND attempt = :attempt AND state = 'running'
        RETURNING {outbox.JOB}
    )
    {ledger.CHARGE}
    {outbox.TELL}
    SELECT id FROM job
    """
)
_SETTLED_BY = text(
    "SELECT id FROM jobs WHERE id = :id AND settled_attempt = :attempt AND output_key = :key"
)
_REQUEUE = text(
    """
    UPDATE jobs SET state = 'queued', lease_until = NULL, worker = NULL, queued_at = now(),
        rung_at = NULL, deaths = 0, out_of_memory = out_of_memory + :memory, step = 0, steps = 0,
        error_code = :code, error_message = :message
    WHERE id = :id AND attempt = :attempt AND state = 'running'
      AND attempt - handed_back < :attempts_max AND (:memory = 0 OR out_of_memory = 0)
    RETURNING id
    """
)
_FAIL = text(_end_sql("failed", "attempt = :attempt AND state = 'running'"))
_BURY = _FAIL
_BLOCK = text(_end_sql("blocked", "attempt = :attempt AND state = 'running'"))
_REVIVE = text(
    """
    UPDATE jobs SET state = 'queued', lease_until = NULL, worker = NULL, queued_at = now(),
        rung_at = now(), deaths = deaths + 1, step = 0, steps = 0
    WHERE id = :id AND attempt = :attempt AND state = 'running'
    """
)
# No lease can be renewed while PostgreSQL is away. Who ran a job then has a moment to say so.
_LAPSED = text(
    f"""
    SELECT id, account_id, queue, priority, attempt, handed_back, deaths FROM jobs
    WHERE state = 'running' AND lease_until < now()
      AND NOT (started_at < pg_postmaster_start_time()
               AND now() < pg_postmaster_start_time() + interval '{RESTART_GRACE_S} seconds')
    ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
_OVERDUE = text(
    """
    SELECT id, account_id FROM jobs
    WHERE state = 'queued' AND queued_at < now() - :start_within_s * interval '1 second'
    ORDER BY queued_at LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
_EXPIRE = text(_end_sql("expired", "state = 'queued'", code="'expired'"))
_CANCEL = text(
    f"""
    WITH job AS (
        UPDATE jobs SET state = 'cancelled', finished_at = now(), lease_until = NULL,
            error_code = 'cancelled', error_message = 'The job was cancelled.'
        WHERE id = :id AND state IN ('queued', 'running')
          AND (CAST(:account AS uuid) IS NULL OR account_id = :account)
        RETURNING {outbox.JOB}
    )
    {ledger.RELEASE}
    {outbox.TELL}
    SELECT id FROM job
    """
)
_FREED = text(
    "UPDATE jobs SET freed_at = now() WHERE id = :id AND attempt = :attempt "
    "AND state = 'cancelled' AND freed_at IS NULL RETURNING id"
)
_STATE = text(
    "SELECT state FROM jobs WHERE id = :id "
    "AND (CAST(:account AS uuid) IS NULL OR account_id = :account)"
)
