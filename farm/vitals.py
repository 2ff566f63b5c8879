"""What operators ask of the database: figures for ``/metrics`` and ``farm doctor``.

Each is one statement that costs little however many jobs there were.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from farm.db import Database
from farm.types import JobState

BREAKING = ("worker_crash", "gpu_out_of_memory", "gpu_failed", "timeout")
"""How jobs end that broke their workers, or ran on broken ones. There is an index of these."""
OVERDUE_S = 60.0
"""A webhook that is due for longer is not sent by anybody."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Connections to the server, or to this database where that has a limit of its own."""

    used: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Broken:
    """Jobs that ended for one such reason; ``job_id`` is the last of them."""

    code: str
    model: str
    jobs: int
    job_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Deliveries that wait: all, those that are overdue although their targets are well, and for
    how long the oldest of them is; and the targets whose last tries failed."""

    scheduled: int
    overdue: int
    overdue_s: float
    troubled: int


@dataclass(frozen=True, slots=True)
class LastAudit:
    """When the books were last checked, and the numbers of the invariants that did not hold."""

    seconds_ago: float
    broken: tuple[int, ...]


def sessions(db: Database) -> Sessions:
    """How many connections there are, and how many there may be. Raises DatabaseUnavailable."""
    rows = db.attempt(lambda connection: connection.execute(_SESSIONS).all())
    return max((Sessions(*row) for row in rows), key=lambda found: found.used / found.allowed)


def broke_workers(db: Database, within_s: float) -> list[Broken]:
    """The jobs that ended in one of the ways of ``BREAKING``, by way and model, the most
    frequent first. Raises DatabaseUnavailable."""
    rows = db.attempt(
        lambda connection: connection.execute(_BROKE_WORKERS, {"within_s": within_s}).all()
    )
    return [Broken(row.error_code, row.model, row.n, row.job_id) for row in rows]


def lapsed_leases(db: Database, for_s: float) -> list[uuid.UUID]:
    """Some of the jobs that run without a worker for longer. Raises DatabaseUnavailable."""
    values = {"for_s": for_s}
    return list(db.attempt(lambda connection: connection.execute(_LAPSED, values).scalars().all()))


def lost_rings(db: Database, for_s: float) -> dict[str, int]:
    """How many jobs each queue has that should have had a message for longer. Raises
    DatabaseUnavailable."""
    rows = db.attempt(lambda connection: connection.execute(_WAIT, {"for_s": for_s}).all())
    return {row.queue: row.n for row in rows}


def webhooks(db: Database) -> Webhooks:
    """What waits to be sent. Raises DatabaseUnavailable."""
    row = db.attempt(lambda connection: connection.execute(_WEBHOOKS, {"s": OVERDUE_S}).one())
    return Webhooks(row.scheduled, row.overdue, float(row.overdue_s or 0.0), row.troubled)


def last_audit(db: Database) -> LastAudit | None:
    """The newest audit; None where there was none. Raises DatabaseUnavailable."""
    row = db.attempt(lambda connection: connection.execute(_AUDIT).one_or_none())
    if row is None:
        return None
    broken: list[dict[str, Any]] = row.broken
    return LastAudit(row.seconds_ago, tuple(each["number"] for each in broken))


def oldest_job_s(db: Database) -> float:
    """How long ago one of the first jobs was made; 0 where there are none."""

    def ask(connection: Connection) -> float:
        return float(connection.execute(_OLDEST_JOB).scalar() or 0.0)

    return db.attempt(ask)


_SESSIONS = text(
    """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int AS allowed
    UNION ALL
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
        datconnlimit
    FROM pg_database WHERE datname = current_database() AND datconnlimit > 0
    """
)
_BROKE_WORKERS = text(
    f"""
    SELECT error_code, model, count(*) AS n, (array_agg(id ORDER BY finished_at DESC))[1] AS job_id
    FROM jobs
    WHERE error_code IN {BREAKING}
      AND finished_at > now() - :within_s * interval '1 second'
    GROUP BY error_code, model ORDER BY n DESC, error_code, model
    """
)
_LAPSED = text(
    f"""
    SELECT id FROM jobs WHERE state = '{JobState.RUNNING}'
      AND lease_until < now() - :for_s * interval '1 second'
    ORDER BY lease_until LIMIT 1000
    """
)
_WAIT = text(
    f"""
    SELECT queue, count(*) AS n FROM jobs WHERE state = '{JobState.QUEUED}' AND ready
      AND queued_at < now() - :for_s * interval '1 second'
    GROUP BY queue
    """
)
# A target in trouble gets one message at a time, so that its others are late.
_WEBHOOKS = text(
    """
    SELECT count(*) AS scheduled, count(*) FILTER (WHERE late) AS overdue,
        extract(epoch FROM now() - min(next_at) FILTER (WHERE late))::float8 AS overdue_s,
        (SELECT count(*) FROM webhook_troubles) AS troubled
    FROM (
        SELECT d.next_at, t.target IS NULL
            AND d.next_at < now() - :s * interval '1 second' AS late
        FROM webhook_deliveries d LEFT JOIN webhook_troubles t ON t.target = d.target
        WHERE d.state = 'scheduled'
    ) AS waiting
    """
)
_AUDIT = text(
    """
    SELECT extract(epoch FROM now() - ran_at)::float8 AS seconds_ago, broken
    FROM audits ORDER BY id DESC LIMIT 1
    """
)
# Whichever lies first in the table: there is no index to ask for the oldest.
_OLDEST_JOB = text("SELECT extract(epoch FROM now() - created_at) FROM jobs LIMIT 1")
