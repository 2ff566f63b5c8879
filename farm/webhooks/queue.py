"""The sender's side of the deliveries: what is due, who has it, how a try ended.

Due messages are taken target by target and not by age: an endpoint with a hundred thousand
messages waiting delays no other one. A healthy target has a few messages on the way at once,
one whose last try failed a single one, and those share a room of their own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from farm.crash_points import Effect, around
from farm.db import Database
from farm.webhooks.send import Try

SCHEDULE_S = (
    0.0,
    5.0,
    300.0,
    1_800.0,
    7_200.0,
    18_000.0,
    36_000.0,
    50_400.0,
    72_000.0,
    86_400.0,
)
"""The waits before each try, as Standard Webhooks suggests them: at once, then after 5 s, 5 min,
30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h; after the last the message is given up."""
JITTER = 0.1
"""A wait is this much shorter or longer, so that what failed together is not tried together."""

LEASE_S = 30.0
"""Longer than a try may take: what a killed sender had comes back after this."""
HEALTHY_ROOM, TROUBLED_ROOM = 32, 16
"""Messages on the way at once, to targets that are well and to those whose last try failed."""
EACH_MAX = 4
"""Of those, to one target."""
OVERDUE_DAYS = 7
"""A message whose turn has not come for so long is given up: its target takes none, or too few."""

DELETED = "The endpoint was deleted."

_TURN = "webhooks"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A sender's hold on one delivery; ``attempt`` is its fence, ``tries`` counts this one."""

    id: uuid.UUID
    attempt: int
    tries: int
    account_id: uuid.UUID
    endpoint_id: uuid.UUID | None
    job_id: uuid.UUID | None
    url: str | None
    target: uuid.UUID
    event: str
    created_at: datetime
    troubled: bool


@dataclass(frozen=True, slots=True)
class Addressee:
    """Where a delivery goes, and the account's plan; ``why_not`` is why it must not go there
    any more, empty where it may."""

    url: str
    why_not: str
    plan: str
    storefront: str


def wait_s(tries: int, jitter: float) -> float | None:
    """Seconds from a failed try to the next one; None when that was the last.

    Args:
        tries: how many there have been, 1 or more.
        jitter: from 0 to 1.
    """
    if tries >= len(SCHEDULE_S):
        return None
    return SCHEDULE_S[tries] * (1 - JITTER + 2 * JITTER * jitter)


def take_turn(db: Database, holder: uuid.UUID, lease_s: float) -> bool:
    """Be the one that sends, or stay it; False while somebody else is."""
    values = {"name": _TURN, "holder": holder, "lease_s": lease_s}
    with around(Effect.WEBHOOK_TURN):
        return db.attempt(lambda c: c.execute(_TAKE_TURN, values).scalar()) is not None


def end_turn(db: Database, holder: uuid.UUID) -> None:
    """Let the next one send at once."""
    values = {"name": _TURN, "holder": holder}
    with around(Effect.WEBHOOK_END_TURN):
        db.attempt(lambda c: c.execute(_END_TURN, values).rowcount)


def claim(
    db: Database, on_the_way: Mapping[uuid.UUID, int], healthy: int, troubled: int
) -> list[Claimed]:
    """Take what is due, the longest waiting first, so that no target gets more than its share.

    Args:
        on_the_way: how many messages to a target this sender has in hand.
        healthy, troubled: how many more it takes of each kind.
    """
    values = {
        "busy": list(on_the_way),
        "counts": list(on_the_way.values()),
        "healthy": healthy,
        "troubled": troubled,
        "lease_s": LEASE_S,
    }
    with around(Effect.WEBHOOK_CLAIM):
        rows = db.attempt(lambda c: c.execute(_CLAIM, values).all())
    return [Claimed(*row) for row in rows]


def addressee(db: Database, claimed: Claimed) -> Addressee:
    """Where a delivery goes, as of now."""
    row = db.attempt(lambda c: c.execute(_ADDRESSEE, {"id": claimed.id}).one())
    why_not = ""
    if row.url is None or row.deleted:
        why_not = DELETED
    elif row.enabled is False and claimed.job_id is not None:
        # A test goes to one that is switched off too: so it is found to be well again.
        why_not = "The endpoint is disabled."
    return Addressee(row.url or "", why_not, row.plan, row.storefront)


def record(
    db: Database, claimed: Claimed, result: Try, *, again_in_s: float | None, gone: bool = False
) -> bool:
    """Write down how a try ended, in one statement. False: the delivery is no longer ours.

    Args:
        again_in_s: None after a failure gives the message up.
        gone: disable the endpoint.
    """
    state = "delivered" if result.arrived else "given_up" if again_in_s is None else "scheduled"
    values: dict[str, Any] = {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "state": state,
        "again_in_s": again_in_s or 0.0,
        "status": result.status,
        "error": result.error,
        "milliseconds": result.milliseconds,
        "gone": gone,
    }
    statement = _ARRIVED if result.arrived else _FAILED
    with around(Effect.WEBHOOK_RECORD):
        return db.attempt(lambda c: c.execute(statement, values).scalar()) is not None


def drop(db: Database, claimed: Claimed, why: str) -> bool:
    """Give a delivery up without having sent it. False: it is no longer ours."""
    values = {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "state": "given_up",
        "again_in_s": 0.0,
        "status": None,
        "error": why,
        "milliseconds": 0,
    }
    with around(Effect.WEBHOOK_DROP):
        return db.attempt(lambda c: c.execute(_DROPPED, values).scalar()) is not None


def give_up_overdue(db: Database, each: int = 1000) -> int:
    """Give up what has been due for a week, at most so many of each target; returns how many."""
    values = {"days": OVERDUE_DAYS, "each": each}
    with around(Effect.WEBHOOK_GIVE_UP):
        return db.attempt(lambda c: c.execute(_GIVE_UP_OVERDUE, values).rowcount)


_TAKE_TURN = text(
    """
    INSERT INTO leases (name, holder, until)
    VALUES (:name, :holder, now() + :lease_s * interval '1 second')
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE leases.until < now() OR leases.holder = excluded.holder
    RETURNING name
    """
)
_END_TURN = text("DELETE FROM leases WHERE name = :name AND holder = :holder")

# One look into the index for each target that has anything scheduled, however much that is.
_TARGETS = """
    WITH RECURSIVE targets AS (
        (SELECT target FROM webhook_deliveries WHERE state = 'scheduled' ORDER BY target LIMIT 1)
        UNION ALL
        SELECT (SELECT d.target FROM webhook_deliveries d
                WHERE d.state = 'scheduled' AND d.target > targets.target
                ORDER BY d.target LIMIT 1)
        FROM targets WHERE targets.target IS NOT NULL
    )
"""
_CLAIM = text(
    f"""
    {_TARGETS}
    , due AS (
        SELECT d.id, d.next_at, w.target IS NOT NULL AS troubled
        FROM targets
        LEFT JOIN webhook_troubles w ON w.target = targets.target
        LEFT JOIN unnest(CAST(:busy AS uuid[]), CAST(:counts AS int[])) AS b (target, n)
            ON b.target = targets.target
        CROSS JOIN LATERAL (
            SELECT id, next_at FROM webhook_deliveries
            WHERE target = targets.target AND state = 'scheduled' AND next_at <= now()
              AND (lease_until IS NULL OR lease_until <= now())
            ORDER BY next_at
            LIMIT greatest(0, CASE WHEN w.target IS NULL THEN {EACH_MAX} ELSE 1 END
                              - coalesce(b.n, 0))
        ) AS d
    )
    , chosen AS (
        (SELECT id, troubled FROM due WHERE NOT troubled ORDER BY next_at LIMIT :healthy)
        UNION ALL
        (SELECT id, troubled FROM due WHERE troubled ORDER BY next_at LIMIT :troubled)
    )
    , free AS (
        SELECT d.id, chosen.troubled FROM webhook_deliveries d JOIN chosen ON chosen.id = d.id
        WHERE d.state = 'scheduled' AND (d.lease_until IS NULL OR d.lease_until <= now())
        FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE webhook_deliveries d SET attempt = d.attempt + 1, tries = d.tries + 1,
        lease_until = now() + :lease_s * interval '1 second'
    FROM free WHERE d.id = free.id
    RETURNING d.id, d.attempt, d.tries, d.account_id, d.endpoint_id, d.job_id, d.url, d.target,
        d.event, d.created_at, free.troubled
    """
)
_ADDRESSEE = text(
    """
    SELECT coalesce(d.url, e.url) AS url, a.plan, a.storefront,
        e.deleted_at IS NOT NULL AS deleted, e.enabled
    FROM webhook_deliveries d JOIN accounts a ON a.id = d.account_id
    LEFT JOIN webhook_endpoints e ON e.id = d.endpoint_id
    WHERE d.id = :id
    """
)
_RECORD = """
    WITH done AS (
        UPDATE webhook_deliveries SET state = :state, lease_until = NULL,
            next_at = now() + :again_in_s * interval '1 second',
            ended_at = CASE WHEN :state = 'scheduled' THEN NULL ELSE now() END
        WHERE id = :id AND attempt = :attempt AND state = 'scheduled'
        RETURNING id, target, endpoint_id
    )
    , logged AS (
        INSERT INTO webhook_tries (delivery_id, attempt, status, error, milliseconds)
        SELECT id, :attempt, :status, :error, :milliseconds FROM done
    )
"""
_ARRIVED = text(
    f"""
    {_RECORD}
    , well AS (DELETE FROM webhook_troubles USING done WHERE webhook_troubles.target = done.target)
    SELECT id FROM done
    """
)
_FAILED = text(
    f"""
    {_RECORD}
    , trouble AS (
        INSERT INTO webhook_troubles (target) SELECT target FROM done
        ON CONFLICT (target) DO UPDATE
        SET failures = webhook_troubles.failures + 1, last_at = now()
    )
    , gone AS (
        UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'gone' FROM done
        WHERE :gone AND webhook_endpoints.id = done.endpoint_id AND enabled
    )
    SELECT id FROM done
    """
)
_DROPPED = text(f"{_RECORD} SELECT id FROM done")
_GIVE_UP_OVERDUE = text(
    f"""
    {_TARGETS}
    UPDATE webhook_deliveries SET state = 'given_up', ended_at = now(), lease_until = NULL
    FROM targets CROSS JOIN LATERAL (
        SELECT id FROM webhook_deliveries
        WHERE target = targets.target AND state = 'scheduled'
          AND next_at < now() - :days * interval '1 day'
        ORDER BY next_at LIMIT :each FOR UPDATE SKIP LOCKED
    ) AS late
    WHERE webhook_deliveries.id = late.id
    """
)
