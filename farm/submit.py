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
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg2
from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError, IntegrityError

from farm import inputs, pricing
from farm import submit_sql as sql
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
    Rejected,
    Unauthenticated,
)
from farm.messages import Ring, intake_ring
from farm.moderation import PromptPolicy
from farm.services import Services
from farm.shapes import shape_of
from farm.types import (
    AccountStatus,
    Idempotency,
    JobRequest,
    JobState,
    Picture,
    Principal,
    RemotePicture,
)
from farm.webhooks.plans import require_webhooks

_TEXT_PARAMS = ("prompt", "negative_prompt")


def draw_between(low: int, high: int) -> int:
    """A random whole number from low to high, both included."""
    return low + secrets.randbelow(high - low + 1)


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted request. ``replayed`` means that an earlier request made this job, ``ready``
    that it waits for nothing but a worker."""

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
    ready: bool = True

    @property
    def ring(self) -> Ring:
        """What is to be rung: the model's queue, or intake where an input is to be fetched."""
        if self.ready:
            return Ring(self.job_id, self.queue, self.priority)
        return intake_ring(self.job_id, self.priority)


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

    Pictures are stored first; those still to be fetched leave the job waiting for the intake
    queue. A prompt that the policy refuses becomes a job in state ``blocked`` that cost nothing.

    Raises:
        InvalidRequest: the model is not sold on this storefront.
        StorageUnavailable: a picture could not be stored; nothing was written.
        InsufficientCredits: the price does not fit into what is available.
        Forbidden: the account is blocked, or its plan has no webhooks and one is asked for.
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
    if request.inputs:
        return _submit_with_inputs(services, values, request, idempotency)
    if idempotency is None:
        created_at = _submit_quickly(services.db, values)
        if created_at is not None:
            return _accepted(values, request, JobState.QUEUED, created_at)
    return _submit_carefully(services.db, values, request, idempotency)


def _submit_with_inputs(
    services: Services,
    values: dict[str, Any],
    request: JobRequest,
    idempotency: Idempotency | None,
) -> Submission:
    """Store the pictures, then submit. Where the database refuses, they go again at once;
    where it does not say, the sweeper finds out."""
    pictures = {name: p for name, p in request.inputs.items() if isinstance(p, Picture)}
    if pictures:
        # Refused for money or already done: found out before megabytes are written for it.
        earlier = services.db.attempt(lambda c: _look_ahead(c, values, idempotency))
        if earlier is not None:
            return earlier
    job_id = values["id"]
    stored = {name: inputs.store(services.storage, job_id, p) for name, p in pictures.items()}
    rows = [inputs.row(name, p, stored.get(name)) for name, p in request.inputs.items()]
    ready = not any(isinstance(p, RemotePicture) for p in request.inputs.values())
    values |= {"inputs": json.dumps(rows), "ready": ready}
    try:
        found = _submit_carefully(services.db, values, request, idempotency)
    except Rejected:
        if stored:
            services.storage.delete_attempt(job_id, inputs.ATTEMPT)
        raise
    if stored and found.job_id != job_id:
        services.storage.delete_attempt(job_id, inputs.ATTEMPT)
    return found


def _look_ahead(
    connection: Connection, values: dict[str, Any], idempotency: Idempotency | None
) -> Submission | None:
    """An earlier answer to the same request. Raises what the submit would, as of now."""
    if idempotency is not None:
        row = connection.execute(sql.EARLIER, values).one_or_none()
        if row is not None and not row.stale:
            return _same_request(row, idempotency)
    row = connection.execute(sql.STANDING, values).one_or_none()
    if (
        row is None
        or row.revoked
        or row.status != AccountStatus.ACTIVE
        or row.available < values["price"]
    ):
        raise _why_not(connection, values)
    return None


def _submit_carefully(
    db: Database,
    values: dict[str, Any],
    request: JobRequest,
    idempotency: Idempotency | None,
) -> Submission:
    """One statement, and whatever must be asked where it wrote nothing."""
    statement = sql.SUBMIT[idempotency is not None, bool(request.inputs)]

    def work(connection: Connection) -> Submission:
        created_at = _run_submit(connection, statement, values)
        if created_at is not None:
            return _accepted(values, request, JobState.QUEUED, created_at)
        earlier = _earlier(connection, statement, values, idempotency)
        if earlier is not None:
            return earlier
        raise _why_not(connection, values)

    try:
        return db.attempt(work)
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
    if request.webhook_url is not None:
        require_webhooks(shop, principal.plan)
    price = pricing.quote(shop, request.sold_as or card.id, request.params, request.about)
    params = dict(request.params)
    job_id = new_id()
    for name, spec in card.params.items():
        if spec.drawn and name not in params:
            # Drawn once and kept with the job, so that a second attempt makes the same picture.
            params[name] = draw(int(spec.min), int(spec.max))
    return {
        "id": job_id,
        "batch_id": job_id,
        "batch_place": 0,
        "batch_size": 1,
        "account": principal.account_id,
        "key_id": principal.key_id,
        "storefront": principal.storefront,
        "model": card.id,
        "sold_as": request.sold_as,
        "operation": request.operation,
        "queue": card.queue,
        "priority": shop.plans[principal.plan].priority,
        "params": json.dumps(params),
        "about": json.dumps(request.about) if request.about else "{}",
        "shape": shape_of(card, request),
        "warnings": json.dumps(request.warnings),
        "price": price.tenths,
        "price_rule": price.rule,
        "webhook_url": request.webhook_url,
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
        row = db.row(sql.SUBMIT_PREPARED, {k: _driver_value(v) for k, v in values.items()})
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
            found: datetime = connection.execute(sql.CREATED_AT, {"id": values["id"]}).scalar_one()
            return found
        if name == "idempotency_keys_pkey":
            return None
        raise


def _earlier(
    connection: Connection,
    statement: Any,
    values: dict[str, Any],
    idempotency: Idempotency | None,
) -> Submission | None:
    """What an earlier request with the same Idempotency-Key got, or None.

    A key older than a day is forgotten and the statement run again.
    """
    if idempotency is None:
        return None
    row = connection.execute(sql.EARLIER, values).one_or_none()
    if row is None:
        return None
    if row.stale:
        connection.execute(sql.FORGET, values)
        created_at = _run_submit(connection, statement, values)
        if created_at is None:
            return None
        return replace(_replay(connection.execute(sql.EARLIER, values).one()), replayed=False)
    return _same_request(row, idempotency)


def _same_request(row: Row[Any], idempotency: Idempotency) -> Submission:
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
        row.sold_as or row.model,
        row.operation,
        row.queue,
        row.priority,
        0 if blocked else row.price,
        row.created_at,
        tuple(row.warnings),
        replayed=True,
        ready=row.ready,
    )


def _why_not(connection: Connection, values: dict[str, Any]) -> Exception:
    row = connection.execute(sql.STANDING, values).one_or_none()
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
    statement = sql.SUBMIT[idempotency is not None, False]
    with db.transaction() as connection:
        if idempotency:
            earlier = _earlier(connection, statement, values, idempotency)
            if earlier is not None:
                return earlier
        created_at = connection.execute(statement, values).scalar()
        if created_at is None:
            raise _why_not(connection, values)
        connection.execute(sql.BLOCK, {"id": values["id"], "message": sentence})
    return _accepted(values | {"price": 0}, request, JobState.BLOCKED, created_at)


def _accepted(
    values: dict[str, Any], request: JobRequest, state: JobState, created_at: datetime
) -> Submission:
    return Submission(
        values["id"],
        state,
        values["sold_as"] or values["model"],
        values["operation"],
        values["queue"],
        values["priority"],
        values["price"],
        created_at,
        request.warnings,
        ready=values.get("ready", True),
    )


def _timed_out(error: DatabaseUnavailable) -> bool:
    cause = error.__cause__
    code = getattr(cause.orig, "pgcode", None) if isinstance(cause, DBAPIError) else None
    return code in ("55P03", "57014")


def forget_old_keys(db: Database, limit: int = 1000) -> int:
    """Drop idempotency keys older than a day; returns how many."""
    with db.statement() as connection:
        return connection.execute(sql.FORGET_OLD, {"limit": limit}).rowcount
