"""The way in: one accepted request becomes a job with its price held, in one statement.

The hold (one conditional UPDATE), the job, its hold row, the two ledger entries and the
idempotency row are data-modifying parts of a single SQL statement, which PostgreSQL runs as
one transaction: one round trip, all or nothing. Ringing the queue comes after, best effort;
the sweeper rings for whoever could not.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from farm import caps, inputs
from farm import submit_sql as sql
from farm.crash_points import Effect, around
from farm.db import Database
from farm.errors import (
    DatabaseUnavailable,
    Forbidden,
    IdempotencyInFlight,
    InsufficientCredits,
    Overloaded,
    QueueFull,
    Rejected,
    Unauthenticated,
)
from farm.services import Services
from farm.submission import (
    Submission,
    accepted,
    draw_between,
    idempotency_values,
    job_values,
    refusal,
    replay,
    same_request,
)
from farm.types import (
    AccountStatus,
    Idempotency,
    JobRequest,
    JobState,
    Picture,
    Principal,
    RemotePicture,
)

_TRIES = 3
"""So often a submit is tried whose reason for writing nothing is gone when it is asked for."""


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
        TooManyJobs: the account has as many live jobs as its plan allows.
        QueueFull: as many jobs wait for the model as may.
        Forbidden: the account is blocked, or its plan has no webhooks and one is asked for.
        Unauthenticated: the key was revoked a moment ago.
        IdempotencyMismatch: the key was used with another body within a day.
        IdempotencyInFlight: the first request with this key is still being written.
        DatabaseUnavailable: nothing was written.
    """
    values = job_values(services.catalog, principal, request, new_id, draw)
    blocked = refusal(services.moderation, request)
    if blocked is not None:
        return _submit_blocked(services, values, request, idempotency, blocked)
    return submit_values(services, values, request, idempotency)


def submit_values(
    services: Services,
    values: dict[str, Any],
    request: JobRequest,
    idempotency: Idempotency | None,
) -> Submission:
    """Write one job whose words are not refused. Raises what :func:`submit` does."""
    values |= idempotency_values(idempotency)
    count_queue(services, values)
    if request.inputs:
        return _submit_with_inputs(services, values, request, idempotency)
    if idempotency is None:
        created_at = _submit_quickly(services, values)
        if created_at is not None:
            return accepted(values, request, JobState.QUEUED, created_at)
    return _submit_carefully(services, values, request, idempotency)


def count_queue(services: Services, values: dict[str, Any]) -> None:
    """Decide whether the statement is to count the queue that the job joins."""
    values["counted"] = services.backlogs.must_count(
        values["queue"], values["queue_max"], values["jobs"]
    )


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
        # To be refused, or already done: found out before megabytes are written for it.
        earlier = services.db.attempt(lambda c: look_ahead(c, values, idempotency))
        if earlier is not None:
            return earlier
    job_id = values["id"]
    stored = store_inputs(services, values, request)
    try:
        found = _submit_carefully(services, values, request, idempotency)
    except (Rejected, QueueFull):
        if stored:
            services.storage.delete_attempt(job_id, inputs.ATTEMPT)
        raise
    if stored and found.job_id != job_id:
        services.storage.delete_attempt(job_id, inputs.ATTEMPT)
    return found


def store_inputs(services: Services, values: dict[str, Any], request: JobRequest) -> bool:
    """Store the job's pictures and put its inputs into ``values``; True where some were stored.

    Raises:
        StorageUnavailable: a picture could not be stored.
    """
    job_id = values["id"]
    pictures = {name: p for name, p in request.inputs.items() if isinstance(p, Picture)}
    stored = {name: inputs.store(services.storage, job_id, p) for name, p in pictures.items()}
    rows = [inputs.row(name, p, stored.get(name)) for name, p in request.inputs.items()]
    ready = not any(isinstance(p, RemotePicture) for p in request.inputs.values())
    values |= {"inputs": json.dumps(rows), "ready": ready}
    return bool(stored)


def look_ahead(
    connection: Connection, values: dict[str, Any], idempotency: Idempotency | None
) -> Submission | None:
    """An earlier answer to the same request. Raises what the submit would, as of now."""
    if idempotency is not None:
        row = connection.execute(sql.EARLIER, values).one_or_none()
        if row is not None and not row.stale:
            return same_request(row, idempotency)
    reason = why_not(connection, values)
    if reason is not None:
        raise reason
    return None


def _submit_carefully(
    services: Services,
    values: dict[str, Any],
    request: JobRequest,
    idempotency: Idempotency | None,
) -> Submission:
    """One statement, and whatever must be asked where it wrote nothing."""
    statement = sql.SUBMIT[idempotency is not None, bool(request.inputs)]

    def work(connection: Connection) -> Submission:
        for _ in range(_TRIES):
            created_at = _run_submit(services, connection, statement, values)
            if created_at is not None:
                return accepted(values, request, JobState.QUEUED, created_at)
            earlier = _earlier(services, connection, values, idempotency, statement)
            if earlier is not None:
                return earlier
            written = connection.execute(sql.CREATED_AT, {"id": values["id"]}).scalar()
            if written is not None:
                # An earlier try, whose answer was lost, took what this one did not find.
                return accepted(values, request, JobState.QUEUED, written)
            reason = why_not(connection, values)
            if reason is not None:
                raise reason
        raise changing()

    try:
        with around(Effect.SUBMIT):
            return services.db.attempt(work)
    except DatabaseUnavailable as error:
        if idempotency and is_time_out(error):
            raise IdempotencyInFlight(
                "The first request with this Idempotency-Key has not been answered yet. "
                "Send it again in a few seconds."
            ) from error
        raise


def _submit_quickly(services: Services, values: dict[str, Any]) -> datetime | None:
    """The usual case; the job's creation time, or None where a closer look is needed."""
    try:
        with around(Effect.SUBMIT):
            row = services.db.row(
                sql.SUBMIT_PREPARED, {k: _driver_value(v) for k, v in values.items()}
            )
    except psycopg2.IntegrityError:
        # Committed by a first try whose answer was lost.
        return None
    if row is None:
        return None
    created_at, backlog = row
    note_backlog(services, values, backlog)
    return cast(datetime, created_at)


def note_backlog(services: Services, values: dict[str, Any], before: int) -> None:
    """Remember how many jobs waited before this one, where they were counted."""
    if values["counted"]:
        services.backlogs.counted(values["queue"], before + 1)


def _driver_value(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def _run_submit(
    services: Services, connection: Connection, statement: Any, values: dict[str, Any]
) -> datetime | None:
    """Run the statement; the job's creation time, or None when nothing was written."""
    try:
        return run_once(services, connection, statement, values)
    except IntegrityError as error:
        name = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        if name == "jobs_pkey":
            # Our own id: an earlier try was committed although its answer was lost.
            found: datetime = connection.execute(sql.CREATED_AT, {"id": values["id"]}).scalar_one()
            return found
        if name == "idempotency_keys_pkey":
            return None
        raise


def run_once(
    services: Services, connection: Connection, statement: Any, values: dict[str, Any]
) -> datetime | None:
    """As ``_run_submit``, where no earlier try can have been committed."""
    row = connection.execute(statement, values).one_or_none()
    if row is None:
        return None
    note_backlog(services, values, row.backlog)
    created_at: datetime = row.created_at
    return created_at


def _earlier(
    services: Services,
    connection: Connection,
    values: dict[str, Any],
    idempotency: Idempotency | None,
    statement: Any,
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
        created_at = _run_submit(services, connection, statement, values)
        if created_at is None:
            return None
        return replace(replay(connection.execute(sql.EARLIER, values).one()), replayed=False)
    return same_request(row, idempotency)


def why_not(connection: Connection, values: dict[str, Any]) -> Exception | None:
    """The reason for which a submit wrote nothing; None where there is none any more."""
    row = connection.execute(sql.STANDING, values).one_or_none()
    if row is None or row.revoked:
        return Unauthenticated("This API key is unknown or has been revoked.")
    if row.status == AccountStatus.BLOCKED:
        return Forbidden("This account is blocked. Contact support.")
    if row.available < values["price"]:
        return InsufficientCredits(values["price"], row.available)
    return caps.refusal(connection, values, row.live)


def changing() -> Overloaded:
    """What is said where every try wrote nothing and afterwards nothing stood in its way."""
    return Overloaded(
        "Many of this account's jobs begin and end right now. Nothing was made. Send it again."
    )


def _submit_blocked(
    services: Services,
    values: dict[str, Any],
    request: JobRequest,
    idempotency: Idempotency | None,
    sentence: str,
) -> Submission:
    """Write the job and end it as blocked in the same transaction; its hold goes straight back."""
    # It never waits: the queue need not be counted.
    values = values | idempotency_values(idempotency) | {"counted": False}
    statement = sql.SUBMIT[idempotency is not None, False]
    with around(Effect.REFUSAL), services.db.transaction() as connection:
        if idempotency:
            earlier = _earlier(services, connection, values, idempotency, statement)
            if earlier is not None:
                return earlier
        created_at = run_once(services, connection, statement, values)
        if created_at is None:
            raise why_not(connection, values) or changing()
        connection.execute(sql.BLOCK, {"id": values["id"], "message": sentence})
    return accepted(values | {"price": 0}, request, JobState.BLOCKED, created_at)


def is_time_out(error: DatabaseUnavailable) -> bool:
    """True where the statement waited for another one until its time was up."""
    cause = error.__cause__
    code = getattr(cause.orig, "pgcode", None) if isinstance(cause, DBAPIError) else None
    return code in ("55P03", "57014")


def is_repeated(db: Database, principal: Principal, idempotency: Idempotency) -> bool:
    """Whether an earlier request of the last day had this Idempotency-Key."""
    values = {"account": principal.account_id, "idempotency": idempotency.key}
    row = db.attempt(lambda c: c.execute(sql.EARLIER, values).one_or_none())
    return row is not None and not row.stale


def forget_old_keys(db: Database, limit: int = 1000) -> int:
    """Drop idempotency keys older than a day; returns how many."""
    with around(Effect.KEY_FORGET), db.statement() as connection:
        return connection.execute(sql.FORGET_OLD, {"limit": limit}).rowcount
