"""Who an account has told of its jobs' ends: endpoints, their events and their secrets.

An account has besides one endpoint without a URL, its default, made when it is first needed:
its secret signs what goes to the URLs that came with submits.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from farm.crash_points import Effect, around
from farm.db import Database
from farm.errors import FieldError, InvalidRequest, NotFound
from farm.webhooks.outbox import JOB_EVENTS
from farm.webhooks.signing import new_secret

ENDPOINTS_MAX = 20
"""Of one account."""
OVERLAP_S = 86_400.0
"""For how long the previous secret goes on signing beside the new one."""

GONE = "gone"
"""Why an endpoint is disabled: it answered 410."""
SWITCHED_OFF = "switched_off"
"""Why an endpoint is disabled: somebody asked for it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint; its secret is not in it. ``url`` None is the account's default,
    ``events`` None means all. ``failing_since`` is set while its last try failed."""

    id: uuid.UUID
    account_id: uuid.UUID
    url: str | None
    events: tuple[str, ...] | None
    enabled: bool
    disabled_reason: str | None
    previous_secret_until: datetime | None
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of an endpoint; None leaves it as it is, ``events`` () means all."""

    url: str | None = None
    events: Sequence[str] | None = None
    enabled: bool | None = None


def check_events(events: Sequence[str], field: str = "events") -> list[str]:
    """The events once each, in their usual order. Raises InvalidRequest for unknown ones."""
    unknown = next((event for event in events if event not in JOB_EVENTS), None)
    if unknown is not None:
        known = ", ".join(JOB_EVENTS)
        raise InvalidRequest([FieldError(field, f"{unknown[:64]!r} is none of {known}.")])
    return [event for event in JOB_EVENTS if event in events]


def add_endpoint(
    db: Database,
    account_id: uuid.UUID,
    url: str,
    events: Sequence[str] = (),
    *,
    new_id: Callable[[], uuid.UUID] = uuid.uuid4,
) -> tuple[Endpoint, str]:
    """Tell a URL of the account's jobs from now on; returns the endpoint and its secret.

    Args:
        url: as :func:`farm.webhooks.check_target` wrote it.
        events: none means all.

    Raises:
        InvalidRequest: an event is not known, or the account has as many as it may have.
    """
    chosen = check_events(events) or None
    secret = new_secret()
    values = {
        "id": new_id(),
        "account": account_id,
        "url": url,
        "events": chosen,
        "secret": secret,
    }
    with db.transaction() as connection:
        # Of two that are added at once the second waits here, and is counted after the first.
        connection.execute(_LOCK_ACCOUNT, values)
        if connection.execute(_COUNT, values).scalar_one() >= ENDPOINTS_MAX:
            sentence = f"an account has at most {ENDPOINTS_MAX} endpoints. Delete one first."
            raise InvalidRequest([FieldError("url", sentence)])
        connection.execute(_ADD, values)
        return _found(connection, values), secret


def list_endpoints(db: Database, account_id: uuid.UUID | None) -> list[Endpoint]:
    """The account's endpoints (None: everybody's), oldest first, the default ones left out."""
    rows = db.attempt(lambda c: c.execute(_LIST, {"account": account_id}).all())
    return [_endpoint(row) for row in rows]


def get_endpoint(db: Database, account_id: uuid.UUID | None, endpoint_id: uuid.UUID) -> Endpoint:
    """One endpoint; ``account_id`` None is the operator. Raises NotFound, another's too."""
    values = {"id": endpoint_id, "account": account_id}
    return db.attempt(lambda connection: _found(connection, values))


def change_endpoint(
    db: Database, account_id: uuid.UUID | None, endpoint_id: uuid.UUID, change: Change
) -> Endpoint:
    """Change what is given. Raises NotFound; InvalidRequest for an unknown event."""
    values = {
        "id": endpoint_id,
        "account": account_id,
        "url": change.url,
        "new_events": change.events is not None,
        "events": check_events(change.events or ()) or None,
        "enabled": change.enabled,
    }

    def work(connection: Connection) -> Endpoint:
        connection.execute(_CHANGE, values)
        return _found(connection, values)

    return db.attempt(work)


def delete_endpoint(db: Database, account_id: uuid.UUID | None, endpoint_id: uuid.UUID) -> None:
    """Tell it nothing more. What is on the way is given up; its log stays until it is old.

    Raises:
        NotFound: no such endpoint, or another account's.
    """
    values = {"id": endpoint_id, "account": account_id}
    with db.transaction() as connection:
        _found(connection, values)
        connection.execute(_FORGET, values)
        connection.execute(_DELETE, values)


def default_endpoint(db: Database, account_id: uuid.UUID) -> Endpoint:
    """The account's endpoint for submits' URLs, made now where there is none yet."""
    values = {"id": uuid.uuid4(), "account": account_id, "secret": new_secret()}

    def work(connection: Connection) -> Endpoint:
        connection.execute(_ADD_DEFAULT, values)
        return _endpoint(connection.execute(_DEFAULT, values).one())

    with around(Effect.WEBHOOK_SECRET):
        return db.attempt(work)


def secret_of(db: Database, account_id: uuid.UUID | None, endpoint_id: uuid.UUID) -> str:
    """The current secret, the default's too. Raises NotFound."""
    values = {"id": endpoint_id, "account": account_id}
    secret: str | None = db.attempt(lambda c: c.execute(_SECRET, values).scalar())
    if secret is None:
        raise NotFound(_NONE)
    return secret


def secrets_in_force(db: Database, endpoint_id: uuid.UUID) -> list[str]:
    """What a message to this endpoint is signed with: the current one first."""
    row = db.attempt(lambda c: c.execute(_IN_FORCE, {"id": endpoint_id}).one_or_none())
    return [secret for secret in row if secret] if row is not None else []


def rotate_secret(
    db: Database,
    account_id: uuid.UUID | None,
    endpoint_id: uuid.UUID,
    *,
    overlap_s: float = OVERLAP_S,
) -> tuple[Endpoint, str]:
    """Give an endpoint a new secret; both sign for ``overlap_s``. Raises NotFound."""
    secret = new_secret()
    values = {
        "id": endpoint_id,
        "account": account_id,
        "overlap_s": overlap_s,
        "secret": secret,
    }
    with db.transaction() as connection:
        connection.execute(_ROTATE, values)
        return _found(connection, values, default_too=True), secret


def _found(
    connection: Connection, values: dict[str, Any], *, default_too: bool = False
) -> Endpoint:
    row = connection.execute(_ONE, values).one_or_none()
    if row is None or (row.url is None and not default_too):
        raise NotFound(_NONE)
    return _endpoint(row)


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(
        row.id,
        row.account_id,
        row.url,
        tuple(row.events) if row.events is not None else None,
        row.enabled,
        row.disabled_reason,
        row.previous_until,
        row.failing_since,
        row.created_at,
    )


_NONE = "No such webhook endpoint."
_OWN = "(CAST(:account AS uuid) IS NULL OR account_id = :account) AND deleted_at IS NULL"
_SELECT = """
    SELECT id, account_id, url, events, enabled, disabled_reason, created_at,
        CASE WHEN previous_until > now() THEN previous_until END AS previous_until,
        (SELECT t.since FROM webhook_troubles t WHERE t.target = webhook_endpoints.id)
            AS failing_since
    FROM webhook_endpoints
"""
_ONE = text(f"{_SELECT} WHERE id = :id AND {_OWN}")
_LIST = text(f"{_SELECT} WHERE url IS NOT NULL AND {_OWN} ORDER BY created_at, id")
_DEFAULT = text(f"{_SELECT} WHERE url IS NULL AND account_id = :account")
_LOCK_ACCOUNT = text("SELECT id FROM accounts WHERE id = :account FOR NO KEY UPDATE")
_COUNT = text(
    "SELECT count(*) FROM webhook_endpoints "
    "WHERE account_id = :account AND deleted_at IS NULL AND url IS NOT NULL"
)
_ADD = text(
    "INSERT INTO webhook_endpoints (id, account_id, url, events, secret) "
    "VALUES (:id, :account, :url, CAST(:events AS text[]), :secret)"
)
_ADD_DEFAULT = text(
    "INSERT INTO webhook_endpoints (id, account_id, secret) VALUES (:id, :account, :secret) "
    "ON CONFLICT DO NOTHING"
)
_CHANGE = text(
    f"""
    UPDATE webhook_endpoints SET url = coalesce(:url, url),
        events = CASE WHEN :new_events THEN CAST(:events AS text[]) ELSE events END,
        enabled = coalesce(CAST(:enabled AS boolean), enabled),
        disabled_reason = CASE CAST(:enabled AS boolean)
            WHEN true THEN NULL
            WHEN false THEN coalesce(disabled_reason, '{SWITCHED_OFF}')
            ELSE disabled_reason END,
        since = CASE WHEN :new_events OR CAST(:enabled AS boolean) THEN now() ELSE since END
    WHERE id = :id AND url IS NOT NULL AND {_OWN}
    """
)
# One that was never told anything leaves nothing behind.
_FORGET = text(
    "DELETE FROM webhook_endpoints WHERE id = :id AND NOT EXISTS "
    "(SELECT 1 FROM webhook_deliveries d WHERE d.account_id = webhook_endpoints.account_id "
    "AND d.endpoint_id = webhook_endpoints.id)"
)
_DELETE = text(
    "UPDATE webhook_endpoints SET deleted_at = now(), secret = NULL, previous_secret = NULL, "
    f"previous_until = NULL WHERE id = :id AND {_OWN}"
)
_SECRET = text(f"SELECT secret FROM webhook_endpoints WHERE id = :id AND {_OWN}")
_IN_FORCE = text(
    "SELECT secret, CASE WHEN previous_until > now() THEN previous_secret END "
    "FROM webhook_endpoints WHERE id = :id"
)
_ROTATE = text(
    f"""
    UPDATE webhook_endpoints SET previous_secret = secret, secret = :secret,
        previous_until = now() + :overlap_s * interval '1 second'
    WHERE id = :id AND {_OWN}
    """
)
