"""Things tests need again and again: an account with a key, a request, a job at some stage."""

from __future__ import annotations

import io
import itertools
import uuid
from dataclasses import dataclass, replace

from PIL import Image
from sqlalchemy import text

from farm import accounts, jobs, keys, settle, submit
from farm.services import Services
from farm.types import (
    Artifact,
    Claim,
    Idempotency,
    JobRequest,
    JobState,
    Picture,
    Principal,
    RemotePicture,
    StoredOutput,
)

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Customer:
    """An account with one key."""

    account_id: uuid.UUID
    email: str
    key: str
    principal: Principal


def customer(
    services: Services,
    *,
    storefront: str = "pixelapi",
    plan: str = "free",
    extra_credits: float = 0,
) -> Customer:
    """A new account with a key."""
    email = f"customer{next(_numbers)}-{uuid.uuid4().hex[:8]}@example.com"
    with services.db.transaction() as connection:
        account = accounts.create_account(
            connection,
            services.catalog,
            email,
            storefront=storefront,
            plan=plan,
            extra_tenths=round(extra_credits * 10),
        )
        row, key = keys.create_key(connection, services.catalog, account.id)
    principal = Principal(account.id, row.id, account.storefront, account.plan, account.status)
    return Customer(account.id, email, key, principal)


def request(model: str = "sdxl", **params: object) -> JobRequest:
    """A request for one picture."""
    return JobRequest(model, "generate", {"prompt": "a red circle", **params})


def submitted(
    services: Services, who: Customer, key: str | None = None, body: bytes = b"\1" * 32
) -> uuid.UUID:
    """The id of a job of this customer, freshly queued."""
    idempotency = Idempotency(key, body) if key else None
    return submit.submit(services, who.principal, request(), idempotency).job_id


def edit(**inputs: Picture | RemotePicture) -> JobRequest:
    """A request to work on pictures, the image and perhaps a mask."""
    return JobRequest("remove-object", "remove-object", {}, inputs=inputs)


def picture(width: int = 8, height: int = 6, colour: str = "red") -> Picture:
    """A small picture as intake makes them."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "TIFF")
    return Picture(buffer.getvalue(), "RGB", width, height)


def claimed(services: Services, job_id: uuid.UUID) -> Claim:
    """A worker's claim on this very job, which goes to the front of its queue for it; fails the
    test when it cannot be claimed."""
    with services.db.statement() as connection:
        before = connection.execute(_TO_THE_FRONT, {"id": job_id}).scalar()
        claim = jobs.claim(services.db, job_id, "test-worker", 30.0, 3)
        assert claim is not None, f"job {job_id} could not be claimed"
        assert str(claim.job_id) == str(job_id), (
            f"instead of job {job_id}, {claim.job_id} was claimed"
        )
        if before is None:
            return claim
        connection.execute(_BACK, {"id": job_id, "priority": before})
    return replace(claim, priority=before)


_TO_THE_FRONT = text(
    """
    UPDATE jobs SET priority = 0,
        turn = (SELECT min(turn) - 1 FROM jobs AS line WHERE line.queue = before.queue)
    FROM (SELECT id, queue, priority FROM jobs WHERE id = :id AND state = 'queued') AS before
    WHERE jobs.id = before.id RETURNING before.priority
    """
)
_BACK = text("UPDATE jobs SET priority = :priority WHERE id = :id")


def abandoned(services: Services, job_id: uuid.UUID) -> Claim:
    """A claim whose lease has run out, as a dead worker leaves it."""
    claim = claimed(services, job_id)
    with services.db.statement() as connection:
        connection.execute(
            text("UPDATE jobs SET lease_until = now() - interval '1 second' WHERE id = :id"),
            {"id": job_id},
        )
    return claim


def stored(services: Services, claim: Claim, data: bytes = b"picture") -> StoredOutput:
    """An output of this attempt, in storage."""
    artifact = Artifact(data, "image/png", "images", "png", {"seed": 7})
    return services.storage.put(claim.job_id, claim.attempt, artifact)


def succeed(services: Services, claim: Claim, *, ttl_s: float = 3600.0) -> bool:
    """Store an output and settle it."""
    return settle.succeed(
        services.db,
        claim,
        stored(services, claim),
        facts={"seed": 7},
        served_by="test",
        processing_ms=12,
        ttl_s=ttl_s,
    )


def fail(
    services: Services, claim: Claim, *, retry: bool = False, code: str = "engine_failed"
) -> JobState | None:
    """End an attempt as broken."""
    return settle.fail(
        services.db, claim, code, "It broke.", retry=retry, attempts_max=3, patience_s=1.0
    )
