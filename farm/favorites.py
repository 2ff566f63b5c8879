"""Jobs that their owner marked as favourites: a mark and nothing more."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import text

from farm.db import Database


def mark(db: Database, account_id: uuid.UUID, job_id: uuid.UUID, *, favorite: bool) -> None:
    """Mark a job of this account, or take its mark back. A job that is not the account's is
    left as it is. Doing it again changes nothing."""
    values = {"id": job_id, "account": account_id}
    db.attempt(lambda connection: connection.execute(_MARK if favorite else _UNMARK, values))


def marked(db: Database, job_ids: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
    """Those of the jobs that are marked."""
    if not job_ids:
        return frozenset()
    rows = db.attempt(lambda c: c.execute(_MARKED, {"ids": list(job_ids)}).scalars().all())
    return frozenset(rows)


_MARK = text(
    "INSERT INTO favorites (job_id) SELECT id FROM jobs WHERE id = :id AND account_id = :account "
    "ON CONFLICT DO NOTHING"
)
_UNMARK = text(
    "DELETE FROM favorites USING jobs WHERE favorites.job_id = :id AND jobs.id = :id "
    "AND jobs.account_id = :account"
)
_MARKED = text("SELECT job_id FROM favorites WHERE job_id = ANY(CAST(:ids AS uuid[]))")
