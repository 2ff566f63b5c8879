"""Several jobs of one request: all of them are held for and written, or none is.

Each is a job of its own from then on, charged on its own success.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from farm import inputs
from farm import submit_sql as sql
from farm.crash_points import Effect, around
from farm.errors import (
    DatabaseUnavailable,
    IdempotencyInFlight,
    PromptRefused,
    QueueFull,
    Rejected,
)
from farm.services import Services
from farm.submission import (
    Batch,
    Submission,
    accepted,
    draw_between,
    idempotency_values,
    job_values,
    refusal,
    replay,
    same_request,
)
from farm.submit import (
    changing,
    count_queue,
    is_time_out,
    look_ahead,
    run_once,
    store_inputs,
    submit_values,
    why_not,
)
from farm.types import Idempotency, JobRequest, JobState, Picture, Principal

_TRIES = 3
"""Again after a dead connection, or after the first request of the same key was written."""


class _NothingWritten(Exception):
    """A job of the batch was refused by the statement that writes it; none is kept."""


def submit_batch(
    services: Services,
    principal: Principal,
    requests: Sequence[JobRequest],
    idempotency: Idempotency | None = None,
    *,
    new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    draw: Callable[[int, int], int] = draw_between,
) -> Batch:
    """Accept 1 to 16 requests in one transaction. Does not ring.

    Raises:
        PromptRefused: the policy refuses the words of one; nothing was written.
        InsufficientCredits: what they cost together does not fit into what is available.
        FarmError: whatever :func:`farm.submit.submit` raises.
    """
    values = [job_values(services.catalog, principal, r, new_id, draw) for r in requests]
    for place, one in enumerate(values):
        one |= {"batch_id": values[0]["id"], "batch_place": place, "batch_size": len(values)}
    for request in requests:
        sentence = refusal(services.moderation, request)
        if sentence is not None:
            raise PromptRefused(sentence)
    if len(values) > 1:
        return _submit_several(services, values, requests, idempotency)
    alone = submit_values(services, values[0], requests[0], idempotency)
    if alone.replayed:
        return services.db.attempt(lambda connection: _replayed(connection, alone))
    return Batch((alone,))


def _submit_several(
    services: Services,
    values: list[dict[str, Any]],
    requests: Sequence[JobRequest],
    idempotency: Idempotency | None,
) -> Batch:
    together = {**values[0], "price": sum(one["price"] for one in values), "jobs": len(values)}
    together |= idempotency_values(idempotency)
    count_queue(services, together)
    for one in values:
        one["counted"] = together["counted"]
    values[0] |= idempotency_values(idempotency)
    if any(isinstance(p, Picture) for request in requests for p in request.inputs.values()):
        earlier = services.db.attempt(lambda c: look_ahead(c, together, idempotency))
        if earlier is not None:
            return services.db.attempt(lambda c: _replayed(c, earlier))
    stored = [
        one["id"]
        for one, request in zip(values, requests, strict=True)
        if request.inputs and store_inputs(services, one, request)
    ]
    try:
        batch = _write(services, values, requests, together, idempotency)
    except (Rejected, QueueFull):
        _forget(services, stored)
        raise
    if batch.id != values[0]["id"]:
        _forget(services, stored)
    return batch


def _forget(services: Services, job_ids: Sequence[uuid.UUID]) -> None:
    for job_id in job_ids:
        services.storage.delete_attempt(job_id, inputs.ATTEMPT)


def _write(
    services: Services,
    values: Sequence[dict[str, Any]],
    requests: Sequence[JobRequest],
    together: dict[str, Any],
    idempotency: Idempotency | None,
) -> Batch:
    """The transaction, and what must be asked where it wrote nothing."""
    is_first = True
    for left in reversed(range(_TRIES)):
        try:
            with around(Effect.BATCH), services.db.transaction() as connection:
                return _write_once(services, connection, values, requests, idempotency)
        except _NothingWritten:
            # Perhaps only because a request with the same key, or an earlier try of this one
            # whose answer was lost, was written since it was looked for: the next look finds it.
            if not is_first:
                reason = services.db.attempt(lambda c: why_not(c, together))
                raise (reason or changing()) from None
            is_first = False
        except IntegrityError as error:
            # The other one was just being written, and is there now.
            if _constraint(error) not in ("idempotency_keys_pkey", "jobs_pkey") or not left:
                raise
        except DatabaseUnavailable as error:
            if idempotency and is_time_out(error):
                break
            cause = error.__cause__
            is_dead = isinstance(cause, DBAPIError) and cause.connection_invalidated
            if not is_dead or not left:
                raise
    raise IdempotencyInFlight(
        "The first request with this Idempotency-Key has not been answered yet. "
        "Send it again in a few seconds."
    )


def _write_once(
    services: Services,
    connection: Connection,
    values: Sequence[dict[str, Any]],
    requests: Sequence[JobRequest],
    idempotency: Idempotency | None,
) -> Batch:
    if idempotency is not None:
        row = connection.execute(sql.EARLIER, values[0]).one_or_none()
        if row is not None and not row.stale:
            return _replayed(connection, same_request(row, idempotency))
        if row is not None:
            connection.execute(sql.FORGET, values[0])
    written = connection.execute(sql.CREATED_AT, {"id": values[0]["id"]}).scalar()
    submissions = []
    for one, request in zip(values, requests, strict=True):
        # Written already: the answer to an earlier try was lost after its commit.
        created_at = written
        if written is None:
            once = idempotency is not None and one is values[0]
            statement = sql.SUBMIT[once, bool(request.inputs)]
            created_at = run_once(services, connection, statement, one)
        if created_at is None:
            raise _NothingWritten
        submissions.append(accepted(one, request, JobState.QUEUED, created_at))
    return Batch(tuple(submissions))


def _replayed(connection: Connection, first: Submission) -> Batch:
    """The batch of a job that an earlier request made, as it was answered then."""
    rows = connection.execute(sql.SAME_BATCH, {"id": first.job_id}).all()
    return Batch(tuple(replay(row) for row in rows))


def _constraint(error: IntegrityError) -> str | None:
    return getattr(getattr(error.orig, "diag", None), "constraint_name", None)
