"""The books as the rows of a real farm have them."""

from __future__ import annotations

import uuid

from sqlalchemy import text

from farm.services import Services
from farm.types import JobState
from tests.farm.books import Book, Books, Job
from tests.farm.events import START_WITHIN_S

_ACCOUNTS = text(
    """
    SELECT a.*, a.period_end <= now() AS is_over, e.*, h.*
    FROM accounts a
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount) FILTER (WHERE book <> 'farm'), 0) AS entries_posted,
            coalesce(sum(amount) FILTER (WHERE book = 'held'), 0) AS entries_held,
            sum(amount) AS entries_sum,
            -- Monthly credits since the month began, less what changes of plan took back.
            coalesce(sum(amount) FILTER (
                WHERE book = 'available' AND id >= (
                    SELECT max(id) - 1 FROM entries WHERE account_id = a.id
                    AND kind = 'grant' AND reason LIKE 'a month of %'
                ) AND (kind = 'grant' OR (kind = 'expire' AND reason <> 'the month ended'))
            ), 0) AS entries_given
        FROM entries WHERE account_id = a.id
    ) AS e
    CROSS JOIN LATERAL (
        SELECT count(*) AS holds, coalesce(sum(amount), 0) AS holds_held
        FROM holds WHERE account_id = a.id AND state = 'open'
    ) AS h
    WHERE a.id = ANY(:ids)
    """
)
_JOBS = text(
    """
    SELECT id, account_id, state, attempt, handed_back, deaths,
        CASE state WHEN 'queued' THEN queued_at < now() - :start_within_s * interval '1 second'
                   WHEN 'running' THEN lease_until < now() ELSE false END AS is_late
    FROM jobs WHERE account_id = ANY(:ids)
    """
)


def read_books(services: Services, account_ids: list[uuid.UUID]) -> Books:
    """The books as the farm's rows have them; the rows must agree with each other."""
    with services.db.statement() as connection:
        rows = connection.execute(_ACCOUNTS, {"ids": account_ids}).all()
        values = {"ids": account_ids, "start_within_s": START_WITHIN_S}
        jobs = connection.execute(_JOBS, values).all()
    for row in rows:
        assert row.entries_sum == 0, row
        assert row.posted == row.entries_posted, row
        assert row.held == row.entries_held == row.holds_held, row
        assert row.live == row.holds, row
        assert row.granted_in_period == row.entries_given, row
    return Books(
        {
            row.id: Book(
                row.plan,
                row.next_plan,
                row.grant_left,
                row.posted - row.grant_left,
                row.held,
                row.granted_in_period,
                row.is_over,
            )
            for row in rows
        },
        {
            row.id: Job(
                row.account_id,
                state := JobState(row.state),
                row.attempt,
                row.handed_back,
                0 if state.is_terminal else row.deaths,
                row.is_late,
            )
            for row in jobs
        },
    )
