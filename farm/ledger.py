"""Credits: hold, charge, release, grant, expire. Append-only double entry.

An account has two books, ``available`` and ``held``; ``farm`` is the other side. Every
transaction moves one amount between two of them:

========== ============ ============ ===========================================
kind       from         to           when
========== ============ ============ ===========================================
grant      farm         available    the plan's monthly credits
purchase   farm         available    credits that do not expire
adjust     farm/avail.  avail./farm  an operator's correction, with a reason
hold       available    held         a job is submitted
charge     held         farm         it succeeded
release    held         available    it ended in any other way
expire     available    farm         what the month's end, or a smaller plan taken
                                     at once, leaves of the grant
========== ============ ============ ===========================================

Two-phase as in TigerBeetle's pending transfers: a hold is resolved once, by a charge or by
a release, and rows never change. Locks are taken in the order job, hold, account. A hold,
a charge and a release are written as fragments of one SQL statement, so that a job's state
and its money cannot part; :mod:`farm.submit` and :mod:`farm.settle` put them together.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

from farm.errors import FieldError, InsufficientCredits, InvalidRequest, NotFound
from farm.types import CREDIT_TENTHS

CREDITS_MAX_TENTHS = 10**12

OPEN_HOLD = """
, hold AS (
    INSERT INTO holds (job_id, account_id, amount)
    SELECT job.id, job.account_id, :price FROM job
)
, moved AS (SELECT nextval('ledger_transactions') AS n, id, account_id FROM job)
, written AS (
    INSERT INTO entries (transaction_id, account_id, job_id, kind, book, amount)
    SELECT moved.n, moved.account_id, moved.id, 'hold', side.book, side.amount
    FROM moved, (VALUES ('available', -(:price)::bigint), ('held', :price)) AS side (book, amount)
)
"""
"""Follows a CTE ``job(id, account_id)`` whose account row was raised by ``held + :price`` and
``live + 1``."""


def _close_hold(kind: str, state: str, account: str, book: str) -> str:
    """A hold's end: the hold, then its account, then the entries from ``held`` to ``book``."""
    return f"""
, hold AS (
    UPDATE holds SET state = '{state}' FROM job
    WHERE holds.job_id = job.id AND holds.state = 'open'
    RETURNING holds.job_id, holds.account_id, holds.amount
)
, account AS (
    UPDATE accounts SET live = live - 1, {account}
    FROM hold WHERE accounts.id = hold.account_id RETURNING accounts.id
)
, moved AS (
    SELECT nextval('ledger_transactions') AS n, hold.* FROM hold JOIN account
    ON account.id = hold.account_id
)
, written AS (
    INSERT INTO entries (transaction_id, account_id, job_id, kind, book, amount)
    SELECT moved.n, moved.account_id, moved.job_id, '{kind}', side.book, side.sign * moved.amount
    FROM moved, (VALUES ('held', -1), ('{book}', 1)) AS side (book, sign)
)
"""


# The monthly grant is spent first: it is the part that would expire.
CHARGE = _close_hold(
    kind="charge",
    state="charged",
    account="posted = posted - hold.amount, held = held - hold.amount, "
    "grant_left = greatest(grant_left - hold.amount, 0)",
    book="farm",
)
"""Follows a CTE ``job(id)`` of one job that has just become ``succeeded``."""

RELEASE = _close_hold(
    kind="release", state="released", account="held = held - hold.amount", book="available"
)
"""Follows a CTE ``job(id)`` of one job that has just ended without success."""

_MOVE = text(
    """
    WITH moved AS (SELECT nextval('ledger_transactions') AS n)
    INSERT INTO entries (transaction_id, account_id, kind, book, amount, reason)
    SELECT moved.n, :account, :kind, side.book, side.amount, :reason
    FROM moved, (VALUES ('farm', -(:tenths)::bigint), ('available', :tenths)) AS side (book, amount)
    """
)
_POST = text(
    "UPDATE accounts SET posted = posted + :tenths, "
    # A correction downwards takes bought credits first, then what it must of the grant.
    "grant_left = least(grant_left + :grant, posted + :tenths), "
    "granted_in_period = granted_in_period + :grant "
    "WHERE id = :account AND posted + :tenths >= held RETURNING id"
)


def grant_monthly(
    connection: Connection, account_id: uuid.UUID, tenths: int, *, reason: str
) -> None:
    """Give a plan's monthly credits; they are the first to be spent and the ones that expire.

    Raises:
        NotFound: no such account.
    """
    _post(connection, account_id, tenths, kind="grant", reason=reason, into_grant=tenths)


def grant(
    connection: Connection,
    account_id: uuid.UUID,
    tenths: int,
    *,
    reason: str,
    kind: Literal["purchase", "adjust"] = "purchase",
) -> None:
    """Add an operator's credits, which do not expire; ``adjust`` may also take away.

    Raises:
        InvalidRequest: the amount is 0, too large, or negative for a purchase; no reason.
        InsufficientCredits: taking away more than what is available.
        NotFound: no such account.
    """
    if not reason.strip():
        raise InvalidRequest([FieldError("reason", "is required: say why, it is kept for ever.")])
    if tenths == 0 or abs(tenths) > CREDITS_MAX_TENTHS or (tenths < 0 and kind == "purchase"):
        least = "must be above 0" if kind == "purchase" else "must not be 0"
        most = f"{CREDITS_MAX_TENTHS // CREDIT_TENTHS:,}"
        raise InvalidRequest([FieldError("credits", f"{least}, and at most {most}.")])
    _post(connection, account_id, tenths, kind=kind, reason=reason.strip(), into_grant=0)


def expire_grant(connection: Connection, account_id: uuid.UUID) -> int:
    """End a month: take back what is left of its grant and not held; returns the tenths taken.

    What is held may still be charged, and a charge spends the grant first; so as much of the
    grant as is held stays, and goes at the next month's end if it was not spent.

    Raises:
        NotFound: no such account.
    """
    values = {"at_most": CREDITS_MAX_TENTHS, "month_ends": True}
    return _expire(connection, account_id, values, reason="the month ended")


def take_back_grant(
    connection: Connection, account_id: uuid.UUID, at_most_tenths: int, *, reason: str
) -> int:
    """Within a month, take back that much of its grant, or what is left of it and not held.

    Returns the tenths taken: they count as never granted in this month.

    Raises:
        NotFound: no such account.
    """
    values = {"at_most": at_most_tenths, "month_ends": False}
    return _expire(connection, account_id, values, reason=reason)


@dataclass(frozen=True, slots=True)
class Movement:
    """One transaction of the ledger as its account sees it; amounts in tenths, signed."""

    transaction_id: int
    at: datetime
    kind: str
    available_tenths: int
    held_tenths: int
    job_id: uuid.UUID | None
    reason: str


def history(connection: Connection, account_id: uuid.UUID, limit: int) -> list[Movement]:
    """The newest ``limit`` transactions of an account, newest first."""
    rows = connection.execute(_HISTORY, {"account": account_id, "limit": limit})
    return [
        Movement(
            row.transaction_id, row.at, row.kind, row.available, row.held, row.job_id, row.reason
        )
        for row in rows
    ]


# A transaction has two entries, and an account's are written one after another under the lock
# of its row: the newest 2n entries are the newest n transactions.
_HISTORY = text(
    """
    SELECT transaction_id, min(created_at) AS at, min(kind) AS kind, min(reason) AS reason,
        coalesce(sum(amount) FILTER (WHERE book = 'available'), 0)::bigint AS available,
        coalesce(sum(amount) FILTER (WHERE book = 'held'), 0)::bigint AS held,
        (array_agg(job_id))[1] AS job_id
    FROM (
        SELECT * FROM entries WHERE account_id = :account ORDER BY id DESC LIMIT 2 * :limit
    ) AS newest
    GROUP BY transaction_id ORDER BY max(id) DESC
    """
)
_EXPIRE = text(
    """
    WITH before AS (
        SELECT id, least(greatest(grant_left - held, 0), :at_most) AS lost FROM accounts
        WHERE id = :account FOR UPDATE
    )
    UPDATE accounts SET posted = posted - before.lost, grant_left = grant_left - before.lost,
        granted_in_period = CASE WHEN :month_ends THEN 0 ELSE granted_in_period - before.lost END
    FROM before WHERE accounts.id = before.id RETURNING before.lost
    """
)


def _expire(
    connection: Connection, account_id: uuid.UUID, values: dict[str, int], *, reason: str
) -> int:
    tenths = connection.execute(_EXPIRE, {"account": account_id, **values}).scalar()
    if tenths is None:
        raise NotFound("No such account.")
    if tenths:
        connection.execute(
            _MOVE, {"account": account_id, "kind": "expire", "tenths": -tenths, "reason": reason}
        )
    return int(tenths)


def _post(
    connection: Connection,
    account_id: uuid.UUID,
    tenths: int,
    *,
    kind: str,
    reason: str,
    into_grant: int,
) -> None:
    if tenths == 0:
        return
    posted = connection.execute(
        _POST, {"account": account_id, "tenths": tenths, "grant": into_grant}
    ).scalar()
    if posted is None:
        available = connection.execute(
            text("SELECT posted - held FROM accounts WHERE id = :account"), {"account": account_id}
        ).scalar()
        if available is None:
            raise NotFound("No such account.")
        raise InsufficientCredits(required_tenths=-tenths, available_tenths=available)
    connection.execute(
        _MOVE, {"account": account_id, "kind": kind, "tenths": tenths, "reason": reason}
    )
