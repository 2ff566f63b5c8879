"""What an account used, day by day: for its bill, and for whoever asks where credits went."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text

from farm.db import Database
from farm.errors import FieldError, InvalidRequest

DAYS_MAX = 366


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The jobs of one kind that were submitted on one day, in UTC, and what came of them.

    ``failed`` are all that ended without a result and cost nothing: failed, blocked, cancelled
    and expired ones. What is neither succeeded nor failed is still live. ``charged_tenths`` is
    what the succeeded ones cost, on whatever day they ended, in tenths of a credit.
    """

    day: date
    operation: str
    model: str
    jobs: int
    succeeded: int
    failed: int
    charged_tenths: int


def usage_by_day(db: Database, account_id: uuid.UUID, days: int) -> list[UsageRow]:
    """The last ``days`` days in UTC, today included, newest first; days without jobs left out.

    Within a day by operation, then model. One query; empty for an unknown account.

    Raises:
        InvalidRequest: ``days`` is not within 1 to ``DAYS_MAX``.
        DatabaseUnavailable: PostgreSQL is away.
    """
    if not 1 <= days <= DAYS_MAX:
        raise InvalidRequest([FieldError("days", f"must be from 1 to {DAYS_MAX}.")])
    values = {"account": account_id, "before_today": days - 1}
    rows = db.attempt(lambda connection: connection.execute(_BY_DAY, values).all())
    return [
        UsageRow(
            row.day, row.operation, row.model, row.jobs, row.succeeded, row.failed, row.charged
        )
        for row in rows
    ]


_BY_DAY = text(
    """
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, operation,
        coalesce(nullif(sold_as, ''), jobs.model) AS model, count(*) AS jobs,
        count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE state NOT IN ('queued', 'running', 'succeeded')) AS failed,
        coalesce(sum(price) FILTER (WHERE state = 'succeeded'), 0)::bigint AS charged
    FROM jobs
    WHERE account_id = :account
      AND created_at >= (date_trunc('day', now() AT TIME ZONE 'UTC')
                         - make_interval(days => :before_today)) AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3 ORDER BY 1 DESC, 2, 3
    """
)
