"""The read side: what the API shows. Every function is one round trip and changes nothing."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from farm.accounts import Account, get_account
from farm.db import Database
from farm.errors import NotFound
from farm.outlook import Place
from farm.prepared import Prepared
from farm.recent_sql import KNOWN_MODELS
from farm.types import JobState


class JobView(NamedTuple):
    """A job as its owner may see it. Amounts in tenths of a credit, times with a zone.

    A tuple, because one is made for every poll: a frozen dataclass of so many fields took a
    twentieth of a poll's time.

    ``seq`` is its number among the account's jobs, ``batch_id`` the id of the first job that
    was submitted with it; ``about`` are the request's own words. ``freed_at`` is when the
    worker of a cancelled job had stopped; ``place`` is where a live job stands, which only
    :mod:`farm.outlook` knows.
    """

    id: uuid.UUID
    account_id: uuid.UUID
    storefront: str
    model: str
    operation: str
    state: JobState
    price_tenths: int
    price_rule: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    step: int
    steps: int
    params: Mapping[str, Any]
    facts: Mapping[str, Any]
    error_code: str | None
    error_message: str | None
    output_path: str | None
    output_expires_at: datetime | None
    processing_ms: int | None
    served_by: str | None
    warnings: tuple[str, ...]
    freed_at: datetime | None
    seq: int
    batch_id: uuid.UUID
    batch_place: int
    batch_size: int
    sold_as: str
    about: Mapping[str, Any]
    place: Place | None = None

    @property
    def sold_model(self) -> str:
        """The id of the model that was asked for and is paid."""
        return self.sold_as or self.model

    @property
    def credits_tenths(self) -> int:
        """What the job holds or has cost: 0 once it ended without success."""
        if self.state.is_terminal and self.state is not JobState.SUCCEEDED:
            return 0
        return self.price_tenths


@dataclass(frozen=True, slots=True)
class OutputView:
    """A stored output that may be fetched."""

    key: str
    media_type: str
    size_bytes: int
    sha256: bytes
    expires_at: datetime


def get_job(db: Database, account_id: uuid.UUID, job_id: uuid.UUID) -> JobView:
    """One job of this account. Raises NotFound, for another account's too."""
    values = {"id": str(job_id), "account": str(account_id)}
    row = db.row(_JOB, values)
    if row is None:
        raise NotFound("No such generation.")
    return _job(row)


def get_jobs(db: Database, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, JobView]:
    """Those of the jobs that are there, of any account, by id."""
    rows = db.rows(_SOME_JOBS, {"ids": f"{{{','.join(map(str, job_ids))}}}"})
    jobs = (_job(row) for row in rows)
    return {job.id: job for job in jobs}


def get_batch(db: Database, account_id: uuid.UUID, batch_id: uuid.UUID) -> list[JobView]:
    """All jobs that were submitted with this one, which is the first of them, in their order.

    Raises NotFound, for another account's too.
    """
    rows = db.rows(_BATCH, {"id": str(batch_id), "account": str(account_id)})
    if not rows:
        raise NotFound("No such batch.")
    return [_job(row) for row in rows]


def newest_jobs(
    db: Database, account_id: uuid.UUID, *, limit: int, before: int | None = None
) -> list[JobView]:
    """The account's jobs from the newest on, those with a ``seq`` below ``before``."""
    values = {
        "account": account_id,
        "limit": limit,
        "before": _SEQ_MAX if before is None else before,
    }
    return [_job(row) for row in db.attempt(lambda c: c.execute(_NEWEST, values).all())]


def newest_batches(
    db: Database, account_id: uuid.UUID, *, limit: int, before: int | None = None
) -> list[list[JobView]]:
    """The account's batches from the newest on, each with all its jobs in their order; those
    whose first job has a ``seq`` below ``before``."""
    values = {
        "account": account_id,
        "limit": limit,
        "before": _SEQ_MAX if before is None else before,
        "jobs": limit * _BATCH_MAX,
    }
    rows = db.attempt(lambda c: c.execute(_NEWEST_BATCHES, values).all())
    batches = itertools.groupby((_job(row) for row in rows), key=lambda job: job.batch_id)
    return [list(jobs)[::-1] for _, jobs in batches]


def find_job(db: Database, job_id: uuid.UUID) -> JobView:
    """One job of any account, for operators. Raises NotFound."""
    row = db.attempt(lambda c: c.execute(_ANY_JOB, {"id": job_id}).one_or_none())
    if row is None:
        raise NotFound("No such job.")
    return _job(row)


def list_jobs(
    db: Database, account_id: uuid.UUID, *, limit: int, days: int
) -> tuple[list[JobView], int]:
    """The newest jobs of the last ``days``, and how many there were in that time."""
    values = {"account": account_id, "limit": limit, "days": days}

    def work(connection: Connection) -> tuple[list[JobView], int]:
        rows = connection.execute(_JOBS, values).all()
        return [_job(row) for row in rows], rows[0].total if rows else 0

    return db.attempt(work)


def recent_jobs(db: Database, *, limit: int, state: JobState | None = None) -> list[JobView]:
    """The newest jobs of every account, for operators."""
    values = {"limit": limit, "state": state.value if state else None}
    rows = db.attempt(lambda c: c.execute(_RECENT, values).all())
    return [_job(row) for row in rows]


def balance(db: Database, account_id: uuid.UUID) -> Account:
    """The account with its amounts as of now. Raises NotFound."""
    return db.attempt(lambda connection: get_account(connection, account_id))


def held_tenths(db: Database) -> int:
    """What all open holds add up to, in tenths of a credit."""
    return int(db.attempt(lambda c: c.execute(_HELD).scalar_one()))


def typical_seconds(db: Database) -> dict[str, float]:
    """The median run time of each model's last 50 successes, in seconds; those without any
    are left out."""
    rows = db.attempt(lambda c: c.execute(_TYPICAL).all())
    return {row.model: float(row.seconds) for row in rows}


def find_output(db: Database, public_path: str) -> OutputView:
    """The output behind a public path. Raises NotFound when unknown, expired or deleted."""
    row = db.attempt(lambda c: c.execute(_OUTPUT, {"path": public_path}).one_or_none())
    if row is None:
        raise NotFound("No such file, or its link has expired.")
    return OutputView(
        row.output_key,
        row.output_type,
        row.output_bytes,
        bytes(row.output_sha256),
        row.output_expires_at,
    )


def _job(row: Sequence[Any]) -> JobView:
    """A row whose first columns are ``_COLUMNS``, which are the fields in their order."""
    known = JobView._make((*row[:_WIDTH], None))
    return known._replace(
        state=JobState(known.state), facts=known.facts or {}, warnings=tuple(known.warnings)
    )


_SEQ_MAX = 2**63 - 1
_BATCH_MAX = 16
"""As many jobs a batch may have, says the table."""

_READABLE = "output_deleted_at IS NULL AND output_expires_at > now()"
_COLUMNS = f"""
    id, account_id, storefront, model, operation, state, price, price_rule, created_at,
    started_at, finished_at, attempt, step, steps, params, facts, error_code, error_message,
    CASE WHEN {_READABLE} THEN output_path END, output_expires_at, processing_ms, served_by,
    warnings, freed_at, seq, batch_id, batch_place, batch_size, sold_as, about
"""
_WIDTH = 30
_JOB = Prepared(
    "farm_job",
    f"SELECT {_COLUMNS} FROM jobs WHERE id = :id AND account_id = :account",
    {"id": "uuid", "account": "uuid"},
)
_SOME_JOBS = Prepared(
    "farm_jobs", f"SELECT {_COLUMNS} FROM jobs WHERE id = ANY(:ids)", {"ids": "uuid[]"}
)
_BATCH = Prepared(
    "farm_batch",
    f"""
    WITH first AS (SELECT seq, batch_size FROM jobs
                   WHERE id = :id AND account_id = :account AND batch_place = 0)
    SELECT {_COLUMNS} FROM jobs WHERE account_id = :account
      AND seq BETWEEN (SELECT seq FROM first) AND (SELECT seq + batch_size - 1 FROM first)
    ORDER BY seq
    """,
    {"id": "uuid", "account": "uuid"},
)
_NEWEST = text(
    f"SELECT {_COLUMNS} FROM jobs WHERE account_id = :account AND seq < :before "
    "ORDER BY seq DESC LIMIT :limit"
)
_NEWEST_BATCHES = text(
    f"""
    WITH firsts AS (
        SELECT seq, batch_size FROM jobs
        WHERE account_id = :account AND batch_place = 0 AND seq < :before AND seq >= (
            SELECT least(jobs_made + 1, :before) FROM accounts WHERE id = :account) - :jobs
        ORDER BY seq DESC LIMIT :limit
    )
    SELECT {_COLUMNS} FROM jobs WHERE account_id = :account
      AND seq >= (SELECT min(seq) FROM firsts)
      AND seq < (SELECT max(seq + batch_size) FROM firsts)
    ORDER BY seq DESC LIMIT :jobs
    """
)
"""Two short ranges of the index, however many jobs there are and whatever the planner believes:
the numbers have no gaps, so a page's first jobs lie within as many as its batches may have."""
_ANY_JOB = text(f"SELECT {_COLUMNS} FROM jobs WHERE id = :id")
_JOBS = text(
    f"""
    SELECT {_COLUMNS}, (
        SELECT count(*) FROM jobs WHERE account_id = :account
          AND created_at > now() - :days * interval '1 day'
    ) AS total
    FROM jobs WHERE account_id = :account AND created_at > now() - :days * interval '1 day'
    ORDER BY created_at DESC LIMIT :limit
    """
)
_RECENT = text(
    f"SELECT {_COLUMNS} FROM jobs WHERE CAST(:state AS text) IS NULL OR state = :state "
    "ORDER BY created_at DESC LIMIT :limit"
)
_OUTPUT = text(
    "SELECT output_key, output_type, output_bytes, output_sha256, output_expires_at FROM jobs "
    f"WHERE output_path = :path AND {_READABLE}"
)
_TYPICAL = text(
    KNOWN_MODELS
    + """
    SELECT known.model, percentile_cont(0.5) WITHIN GROUP (ORDER BY last.processing_ms) / 1000
        AS seconds
    FROM known CROSS JOIN LATERAL (
        SELECT processing_ms FROM jobs WHERE state = 'succeeded' AND jobs.model = known.model
        ORDER BY finished_at DESC LIMIT 50
    ) AS last
    WHERE known.model IS NOT NULL GROUP BY known.model
    """
)
"""One look into the index for each model, however many jobs there were."""
_HELD = text("SELECT coalesce(sum(amount), 0)::bigint FROM holds WHERE state = 'open'")
