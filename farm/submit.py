"""The way in: one accepted request becomes a job with its price held, in one statement.

The hold (one conditional UPDATE), the job, its hold row, the two ledger entries and the
idempotency row are data-modifying parts of a single SQL statement, which PostgreSQL runs as
one transaction: one round trip, all or nothing. Ringing the queue comes after, best effort;
the sweeper rings for whoever could not.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from farm import ledger, pricing
from farm.catalog import Catalog
from farm.db import Database
from farm.errors import (
    DatabaseUnavailable,
    FieldError,
    Forbidden,
    IdempotencyInFlight,
    IdempotencyMismatch,
    InsufficientCredits,
    InvalidRequest,
    Unauthenticated,
)
from farm.moderation import PromptPolicy
from farm.prepared import Prepared
from farm.services import Services
from farm.types import AccountStatus, Idempotency, JobRequest, JobState, Principal

IDEMPOTENCY_HOURS = 24
_TEXT_PARAMS = ("prompt", "negative_prompt")


def draw_between(low: int, high: int) -> int:
    """A random whole number from low to high, both included."""
    return low + secrets.randbelow(high - low + 1)


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted request. ``replayed`` means that an earlier request made this job."""

    job_id: uuid.UUID
    state: JobState
    model: str
    operation: str
    queue: str
    priority: int
    price_tenths: int
    created_at: datetime
    warnings: tuple[str, ...]
    replayed: bool = False


def submit(
    services: Services,
    principal: Principal,
    request: JobRequest,
    idempotency: Idempotency | None = None,
    *,
    new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    draw: Callable[[int, int], int] = draw_between,
) -> Submission:
    """Accept a request: freeze its price, hold it, write the job. Does not ring.

    A prompt that the policy refuses becomes a job in state ``blocked`` that cost nothing.

    Raises:
        InvalidRequest: the model is not sold on this storefront.
        InsufficientCredits: the price does not fit into what is available.
        Forbidden: the account is blocked.
        Unauthenticated: the key was revoked a moment ago.
        IdempotencyMismatch: the key was used with another body within a day.
        IdempotencyInFlight: the first request with this key is still being written.
        DatabaseUnavailable: nothing was written.
    """
    values = _job_values(services.catalog, principal, request, new_id, draw)
    blocked = _refusal(services.moderation, request)
    if blocked is not None:
        return _submit_blocked(services.db, values, request, idempotency, blocked)
    values |= _idempotency_values(idempotency)
    if idempotency is None:
        created_at = _submit_quickly(services.db, values)
        if created_at is not None:
            return _accepted(values, request, JobState.QUEUED, created_at)
    statement = _SUBMIT_ONCE if idempotency else _SUBMIT

    def work(connection: Connection) -> Submission:
        created_at = _run_submit(connection, statement, values)
        if created_at is not None:
            return _accepted(values, request, JobState.QUEUED, created_at)
        earlier = _earlier(connection, values, idempotency)
        if earlier is not None:
            return earlier
        raise _why_not(connection, values)

    try:
        return services.db.attempt(work)
    except DatabaseUnavailable as error:
        if idempotency and _timed_out(error):
            raise IdempotencyInFlight(
                "The first request with this Idempotency-Key has not been answered yet. "
                "Send it again in a few seconds."
            ) from error
        raise


def _job_values(
    catalog: Catalog,
    principal: Principal,
    request: JobRequest,
    new_id: Callable[[], uuid.UUID],
    draw: Callable[[int, int], int],
) -> dict[str, Any]:
    card = catalog.models.get(request.model)
    shop = catalog.storefronts[principal.storefront]
    if card is None:
        raise InvalidRequest([FieldError("model", f"{request.model!r} is not a model here.")])
    price = pricing.quote(shop, card.id, request.params)
    params = dict(request.params)
    for name, spec in card.params.items():
        if spec.drawn and name not in params:
            # Drawn once and kept with the job, so that a second attempt makes the same picture.
            params[name] = draw(int(spec.min), int(spec.max))
    return {
        "id": new_id(),
        "account": principal.account_id,
        "key_id": principal.key_id,
        "storefront": principal.storefront,
        "model": card.id,
        "operation": request.operation,
        "queue": card.queue,
        "priority": shop.plans[principal.plan].priority,
        "params": json.dumps(params),
        "warnings": json.dumps(request.warnings),
        "price": price.tenths,
        "price_rule": price.rule,
    }


def _idempotency_values(idempotency: Idempotency | None) -> dict[str, Any]:
    if idempotency is None:
        return {}
    return {"idempotency": idempotency.key, "body_sha256": idempotency.body_sha256}


def _refusal(policy: PromptPolicy, request: JobRequest) -> str | None:
    texts = (request.params.get(name) for name in _TEXT_PARAMS)
    verdicts = (policy.verdict(text_) for text_ in texts if isinstance(text_, str))
    return next((verdict for verdict in verdicts if verdict is not None), None)


def _submit_quickly(db: Database, values: dict[str, Any]) -> datetime | None:
    """The usual case; the job's creation time, or None where a closer look is needed."""
    try:
        row = db.row(_SUBMIT_PREPARED, {k: _driver_value(v) for k, v in values.items()})
    except psycopg2.IntegrityError:
        # Committed by a first try whose answer was lost.
        return None
    return row[0] if row else None


def _driver_value(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def _run_submit(connection: Connection, statement: Any, values: dict[str, Any]) -> datetime | None:
    """Run the statement; the job's creation time, or None when nothing was written."""
    try:
        created_at: datetime | None = connection.execute(statement, values).scalar()
        return created_at
    except IntegrityError as error:
        name = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        if name == "jobs_pkey":
            # Our own id: an earlier try was committed although its answer was lost.
            found: datetime = connection.execute(_CREATED_AT, {"id": values["id"]}).scalar_one()
            return found
        if name == "idempotency_keys_pkey":
            return None
        raise


def _earlier(
    connection: Connection, values: dict[str, Any], idempotency: Idempotency | None
) -> Submission | None:
    """What an earlier request with the same Idempotency-Key got, or None."""
    if idempotency is None:
        return None
    row = connection.execute(_EARLIER, values).one_or_none()
    if row is None:
        return None
    if row.stale:
        connection.execute(_FORGET, values)
        created_at = _run_submit(connection, _SUBMIT_ONCE, values)
        if created_at is None:
            return None
        return _replay(connection.execute(_EARLIER, values).one())
    if bytes(row.body_sha256) != idempotency.body_sha256:
        raise IdempotencyMismatch(
            "This Idempotency-Key was already used with another request. Use a new key."
        )
    return _replay(row)


def _replay(row: Row[Any]) -> Submission:
    """The first answer again: what the job was at submit, whatever it has become since."""
    blocked = row.state == JobState.BLOCKED and row.attempt == 0
    return Submission(
        row.id,
        JobState.BLOCKED if blocked else JobState.QUEUED,
        row.model,
        row.operation,
        row.queue,
        row.priority,
        0 if blocked else row.price,
        row.created_at,
        tuple(row.warnings),
        replayed=True,
    )


def _why_not(connection: Connection, values: dict[str, Any]) -> Exception:
    row = connection.execute(_STANDING, values).one_or_none()
    if row is None or row.revoked:
        return Unauthenticated("This API key is unknown or has been revoked.")
    if row.status == AccountStatus.BLOCKED:
        return Forbidden("This account is blocked. Contact support.")
    return InsufficientCredits(values["price"], row.available)


def _submit_blocked(
    db: Database,
    values: dict[str, Any],
    request: JobRequest,
    idempotency: Idempotency | None,
    sentence: str,
) -> Submission:
    """Write the job and end it as blocked in the same transaction; its hold goes straight back."""
    values = values | _idempotency_values(idempotency)
    with db.transaction() as connection:
        if idempotency:
            earlier = _earlier(connection, values, idempotency)
            if earlier is not None:
                return earlier
        statement = _SUBMIT_ONCE if idempotency else _SUBMIT
        created_at = connection.execute(statement, values).scalar()
        if created_at is None:
            raise _why_not(connection, values)
        connection.execute(_BLOCK, {"id": values["id"], "message": sentence})
    return _accepted(values | {"price": 0}, request, JobState.BLOCKED, created_at)


def _accepted(
    values: dict[str, Any], request: JobRequest, state: JobState, created_at: datetime
) -> Submission:
    return Submission(
        values["id"],
        state,
        values["model"],
        values["operation"],
        values["queue"],
        values["priority"],
        values["price"],
        created_at,
        request.warnings,
    )


def _timed_out(error: DatabaseUnavailable) -> bool:
    cause = error.__cause__
    code = getattr(cause.orig, "pgcode", None) if isinstance(cause, DBAPIError) else None
    return code in ("55P03", "57014")


def _submit_sql(once: bool) -> str:
    unused = """
          AND NOT EXISTS (SELECT 1 FROM idempotency_keys
                          WHERE account_id = :account AND key = :idempotency)"""
    remember = """
, remembered AS (
    INSERT INTO idempotency_keys (account_id, key, body_sha256, job_id)
    SELECT job.account_id, :idempotency, :body_sha256, job.id FROM job
)
"""
    return f"""
    WITH account AS (
        UPDATE accounts SET held = held + :price
        WHERE id = :account AND posted - held >= :price AND status = 'active'
          AND EXISTS (SELECT 1 FROM api_keys WHERE id = :key_id AND revoked_at IS NULL)
          {unused if once else ""}
        RETURNING id
    )
    , job AS (
        INSERT INTO jobs (id, account_id, storefront, model, operation, queue, priority,
                          params, warnings, price, price_rule, rung_at)
        SELECT :id, account.id, :storefront, :model, :operation, :queue, :priority,
               CAST(:params AS jsonb), CAST(:warnings AS jsonb), :price, :price_rule, now()
        FROM account
        RETURNING id, account_id, created_at
    )
    {ledger.OPEN_HOLD}
    {remember if once else ""}
    SELECT created_at FROM job
    """


_SUBMIT = text(_submit_sql(once=False))
_SUBMIT_PREPARED = Prepared(
    "farm_submit",
    _submit_sql(once=False),
    {"id": "uuid", "account": "uuid", "key_id": "uuid", "price": "bigint", "priority": "smallint"},
)
_SUBMIT_ONCE = text(_submit_sql(once=True))
_CREATED_AT = text("SELECT created_at FROM jobs WHERE id = :id")
_EARLIER = text(
    "SELECT j.id, j.state, j.attempt, j.model, j.operation, j.queue, j.priority, j.price, "
    "j.created_at, j.warnings, i.body_sha256, "
    f"i.created_at < now() - interval '{IDEMPOTENCY_HOURS} hours' AS stale "
    "FROM idempotency_keys i JOIN jobs j ON j.id = i.job_id "
    "WHERE i.account_id = :account AND i.key = :idempotency"
)
_FORGET = text("DELETE FROM idempotency_keys WHERE account_id = :account AND key = :idempotency")
_STANDING = text(
    "SELECT a.status, a.posted - a.held AS available, k.revoked_at IS NOT NULL AS revoked "
    "FROM api_keys k JOIN accounts a ON a.id = k.account_id "
    "WHERE k.id = :key_id AND a.id = :account"
)
_BLOCK = text(
    f"""
    WITH job AS (
        UPDATE jobs SET state = 'blocked', finished_at = now(), error_code = 'prompt_refused',
            error_message = :message
        WHERE id = :id AND state = 'queued' RETURNING id
    )
    {ledger.RELEASE}
    SELECT id FROM job
    """
)


def forget_old_keys(db: Database, limit: int = 1000) -> int:
    """Drop idempotency keys older than a day; returns how many."""
    with db.statement() as connection:
        return connection.execute(_FORGET_OLD, {"limit": limit}).rowcount


_FORGET_OLD = text(
    f"""
    DELETE FROM idempotency_keys WHERE (account_id, key) IN (
        SELECT account_id, key FROM idempotency_keys
        WHERE created_at < now() - interval '{IDEMPOTENCY_HOURS} hours'
        ORDER BY created_at LIMIT :limit
    )
    """
)
