"""The account's side of the deliveries: what was sent and tried, a test, sending it again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from farm.crash_points import Effect, around
from farm.db import Database
from farm.errors import NotFound
from farm.webhooks.endpoints import Endpoint
from farm.webhooks.outbox import PING
from farm.webhooks.send import Try

KEPT_DAYS = 30
"""For how long deliveries and their tries are kept."""
PAGE_MAX = 100
TRIES_SHOWN = 20
"""Of one delivery, the newest."""
REPLAYED_MAX = 10_000
"""Deliveries that are scheduled anew by one call."""


@dataclass(frozen=True, slots=True)
class LoggedTry:
    """One try as it was written down."""

    at: datetime
    result: Try


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message and what became of it. ``state`` is scheduled, delivered or given_up;
    ``next_at`` is set while it is scheduled; ``tries`` are the newest, oldest first."""

    id: uuid.UUID
    endpoint_id: uuid.UUID | None
    job_id: uuid.UUID | None
    event: str
    state: str
    created_at: datetime
    next_at: datetime | None
    ended_at: datetime | None
    tries: tuple[LoggedTry, ...]


def list_deliveries(
    db: Database,
    account_id: uuid.UUID,
    endpoint_id: uuid.UUID | None,
    *,
    limit: int,
    before: uuid.UUID | None = None,
) -> list[Delivery]:
    """A page of an endpoint's deliveries, newest first; ``endpoint_id`` None is of those that
    went to the URLs of submits.

    Args:
        before: the last delivery of the page before this one.
    """
    values = {"account": account_id, "endpoint": endpoint_id, "limit": limit, "before": before}
    statement = _OF_DEFAULT if endpoint_id is None else _OF_ENDPOINT

    def work(connection: Connection) -> list[Delivery]:
        rows = connection.execute(statement, values).all()
        return _with_tries(connection, rows)

    return db.attempt(work)


def get_delivery(db: Database, account_id: uuid.UUID | None, delivery_id: uuid.UUID) -> Delivery:
    """One delivery; ``account_id`` None is the operator. Raises NotFound, another's too."""
    values = {"id": delivery_id, "account": account_id}

    def work(connection: Connection) -> Delivery:
        rows = connection.execute(_ONE, values).all()
        if not rows:
            raise NotFound("No such webhook delivery.")
        return _with_tries(connection, rows)[0]

    return db.attempt(work)


def ping(db: Database, endpoint: Endpoint) -> uuid.UUID:
    """Send an endpoint a test event; the delivery it is, which is sent within a second."""
    delivery_id = uuid.uuid4()
    values = {
        "id": delivery_id,
        "account": endpoint.account_id,
        "endpoint": endpoint.id,
        "event": PING,
    }
    db.attempt(lambda c: c.execute(_PING, values).rowcount)
    return delivery_id


def replay(db: Database, account_id: uuid.UUID | None, delivery_id: uuid.UUID) -> Delivery:
    """Send a message again, now and by the whole schedule, under the same ``webhook-id``.

    Raises:
        NotFound: no such delivery, or another account's.
    """
    values = {"id": delivery_id, "account": account_id}
    db.attempt(lambda c: c.execute(_REPLAY, values).rowcount)
    return get_delivery(db, account_id, delivery_id)


def replay_failed(db: Database, endpoint: Endpoint, since: datetime) -> int:
    """Send again what an endpoint has not taken since then; returns how many, the oldest first.

    That is what was given up, and what failed and waits for its next try.
    """
    values = {
        "account": endpoint.account_id,
        "endpoint": endpoint.id,
        "since": since,
        "limit": REPLAYED_MAX,
    }
    return db.attempt(lambda c: c.execute(_REPLAY_FAILED, values).rowcount)


def delete_old(db: Database, limit: int = 500) -> int:
    """Forget deliveries that ended and are older than is kept, and troubles and deleted
    endpoints of that age; returns how many deliveries."""
    values = {"days": KEPT_DAYS, "limit": limit}

    def work(connection: Connection) -> int:
        connection.execute(_OLD_TROUBLES, values)
        connection.execute(_OLD_ENDPOINTS, values)
        return connection.execute(_OLD, values).rowcount

    with around(Effect.WEBHOOK_FORGET):
        return db.attempt(work)


def _with_tries(connection: Connection, rows: Sequence[Row[Any]]) -> list[Delivery]:
    ids = [row.id for row in rows]
    tries: dict[uuid.UUID, list[LoggedTry]] = {found: [] for found in ids}
    for row in connection.execute(_TRIES, {"ids": ids, "shown": TRIES_SHOWN}):
        result = Try(row.status, row.error, row.milliseconds)
        tries[row.delivery_id].append(LoggedTry(row.at, result))
    return [
        Delivery(
            row.id,
            row.endpoint_id,
            row.job_id,
            row.event,
            row.state,
            row.created_at,
            row.next_at if row.state == "scheduled" else None,
            row.ended_at,
            tuple(tries[row.id]),
        )
        for row in rows
    ]


_OWN = "(CAST(:account AS uuid) IS NULL OR account_id = :account)"
_SELECT = (
    "SELECT id, endpoint_id, job_id, event, state, created_at, next_at, ended_at "
    "FROM webhook_deliveries"
)
_PAGE = """
      AND (CAST(:before AS uuid) IS NULL OR (created_at, id) <
           (SELECT created_at, id FROM webhook_deliveries
            WHERE id = :before AND account_id = :account))
    ORDER BY created_at DESC, id DESC LIMIT :limit
"""
_OF_ENDPOINT = text(f"{_SELECT} WHERE account_id = :account AND endpoint_id = :endpoint {_PAGE}")
_OF_DEFAULT = text(f"{_SELECT} WHERE account_id = :account AND endpoint_id IS NULL {_PAGE}")
_ONE = text(f"{_SELECT} WHERE id = :id AND {_OWN}")
_TRIES = text(
    """
    SELECT newest.* FROM unnest(CAST(:ids AS uuid[])) AS d (id)
    CROSS JOIN LATERAL (
        SELECT delivery_id, attempt, at, status, error, milliseconds FROM webhook_tries
        WHERE delivery_id = d.id ORDER BY attempt DESC LIMIT :shown
    ) AS newest
    ORDER BY newest.delivery_id, newest.attempt
    """
)
_PING = text(
    "INSERT INTO webhook_deliveries (id, account_id, endpoint_id, target, event) "
    "VALUES (:id, :account, :endpoint, :endpoint, :event)"
)
# What a sender has in hand stays its own; its failure is then the new round's first.
_AGAIN = "state = 'scheduled', tries = 0, next_at = now(), ended_at = NULL"
_REPLAY = text(f"UPDATE webhook_deliveries SET {_AGAIN} WHERE id = :id AND {_OWN}")
_REPLAY_FAILED = text(
    f"""
    UPDATE webhook_deliveries SET {_AGAIN} WHERE id IN (
        SELECT id FROM webhook_deliveries
        WHERE account_id = :account AND endpoint_id = :endpoint AND created_at >= :since
          AND (state = 'given_up' OR (state = 'scheduled' AND tries > 0))
        ORDER BY created_at, id LIMIT :limit
    )
    """
)
_OLD = text(
    """
    DELETE FROM webhook_deliveries WHERE id IN (
        SELECT id FROM webhook_deliveries
        WHERE created_at < now() - :days * interval '1 day' AND state <> 'scheduled'
        ORDER BY created_at LIMIT :limit
    )
    """
)
_OLD_TROUBLES = text(
    "DELETE FROM webhook_troubles WHERE last_at < now() - :days * interval '1 day'"
)
_OLD_ENDPOINTS = text(
    """
    DELETE FROM webhook_endpoints e
    WHERE e.deleted_at < now() - :days * interval '1 day' AND NOT EXISTS (
        SELECT 1 FROM webhook_deliveries d
        WHERE d.account_id = e.account_id AND d.endpoint_id = e.id)
    """
)
