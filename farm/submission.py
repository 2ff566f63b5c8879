"""A submit's parts that ask nobody: what is written, what is refused, what is answered."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from farm import pricing
from farm.catalog import Catalog
from farm.errors import FieldError, IdempotencyMismatch, InvalidRequest
from farm.messages import Ring, intake_ring
from farm.moderation import PromptPolicy
from farm.shapes import shape_of
from farm.types import Idempotency, JobRequest, JobState, Principal
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


@dataclass(frozen=True, slots=True)
class Batch:
    """The jobs of one request, in their order, accepted together. Its id is the first one's."""

    jobs: tuple[Submission, ...]

    @property
    def id(self) -> uuid.UUID:
        """What the batch is known by."""
        return self.jobs[0].job_id

    @property
    def price_tenths(self) -> int:
        """What is held for all of them, in tenths of a credit."""
        return sum(job.price_tenths for job in self.jobs)

    @property
    def replayed(self) -> bool:
        """Whether an earlier request made these jobs."""
        return self.jobs[0].replayed

    @property
    def rings(self) -> tuple[Ring, ...]:
        """What is to be rung, nothing for jobs that an earlier request made."""
        return () if self.replayed else tuple(job.ring for job in self.jobs)


def job_values(
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
    plan = shop.plans[principal.plan]
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
        "priority": plan.priority,
        "jobs": 1,
        "jobs_max": plan.jobs_max,
        "queue_max": card.queue_max,
        "typical_s": card.typical_s[1],
        "params": json.dumps(params),
        "about": json.dumps(request.about) if request.about else "{}",
        "shape": shape_of(card, request),
        "warnings": json.dumps(request.warnings),
        "price": price.tenths,
        "price_rule": price.rule,
        "webhook_url": request.webhook_url,
    }


def idempotency_values(idempotency: Idempotency | None) -> dict[str, Any]:
    if idempotency is None:
        return {}
    return {"idempotency": idempotency.key, "body_sha256": idempotency.body_sha256}


def refusal(policy: PromptPolicy, request: JobRequest) -> str | None:
    texts = (request.params.get(name) for name in _TEXT_PARAMS)
    verdicts = (policy.verdict(text_) for text_ in texts if isinstance(text_, str))
    return next((verdict for verdict in verdicts if verdict is not None), None)


def same_request(row: Row[Any], idempotency: Idempotency) -> Submission:
    if bytes(row.body_sha256) != idempotency.body_sha256:
        raise IdempotencyMismatch(
            "This Idempotency-Key was already used with another request. Use a new key."
        )
    return replay(row)


def replay(row: Row[Any]) -> Submission:
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


def accepted(
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
