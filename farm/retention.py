"""What the farm throws away: outputs past their day, and files that no settled attempt owns."""

from __future__ import annotations

import itertools
import uuid

from sqlalchemy import text

from farm.crash_points import Effect, around
from farm.db import Database
from farm.storage import Storage

_BATCH = 500


def delete_expired_outputs(db: Database, storage: Storage, limit: int = 500) -> int:
    """Delete the files of outputs whose time is over; returns how many.

    The row is marked after the file is gone: a crash in between deletes it again, which is
    harmless, and never leaves a file behind that nobody looks for.

    Raises:
        DatabaseUnavailable, StorageUnavailable: what was done so far stays done.
    """
    with db.statement() as connection:
        rows = connection.execute(_EXPIRED, {"limit": limit}).all()
    for row in rows:
        with around(Effect.OUTPUT_DELETE):
            storage.delete(row.output_key)
        with around(Effect.OUTPUT_MARK), db.statement() as connection:
            connection.execute(_DELETED, {"id": row.id})
    return len(rows)


def sweep_orphans(
    db: Database, storage: Storage, *, older_than_s: float = 3600.0, limit: int = 10_000
) -> int:
    """Delete files of attempts that were never settled; returns how many attempts.

    Only attempts that can no longer settle are touched: their job has ended otherwise, has
    moved on to a later attempt, or does not exist. Attempt 0 is where a job's inputs lie: they
    are nobody's once it has ended. ``limit`` bounds how many are deleted, not
    how many are looked at: orphans may lie behind any number of outputs that are kept.
    """
    swept = 0
    found = storage.attempts(older_than_s)
    while batch := list(itertools.islice(found, _BATCH)):
        for job_id, attempt in _orphans(db, batch):
            if swept == limit:
                return swept
            with around(Effect.ORPHAN_DELETE):
                storage.delete_attempt(job_id, attempt)
            swept += 1
    return swept


def _orphans(db: Database, batch: list[tuple[uuid.UUID, int]]) -> list[tuple[uuid.UUID, int]]:
    values = {"ids": [job for job, _ in batch], "attempts": [attempt for _, attempt in batch]}
    with db.statement() as connection:
        rows = connection.execute(_ORPHANS, values).all()
    return [(row.job_id, row.attempt) for row in rows]


_EXPIRED = text(
    "SELECT id, output_key FROM jobs WHERE output_key IS NOT NULL AND output_deleted_at IS NULL "
    "AND output_expires_at <= now() ORDER BY output_expires_at LIMIT :limit"
)
_DELETED = text(
    "UPDATE jobs SET output_deleted_at = now() WHERE id = :id AND output_deleted_at IS NULL"
)
_ORPHANS = text(
    """
    SELECT f.job_id, f.attempt
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS f (job_id, attempt)
    LEFT JOIN jobs j ON j.id = f.job_id
    WHERE j.id IS NULL
       OR (f.attempt < j.attempt AND f.attempt > 0)
       OR (j.state NOT IN ('queued', 'running')
           AND (j.settled_attempt IS DISTINCT FROM f.attempt OR j.output_deleted_at IS NOT NULL))
    """
)
