"""The dialect's words for the farm's things, both ways. Pure: no clock, no I/O, no Flask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.callback import FIELD as WEBHOOK
from api.callback import Problems, decode_webhook
from api.queries import whole_number
from api.storefronts.pixelapi.ids import encode_id
from api.storefronts.pixelapi.tryon_errors import TryOnRefused
from api.strangers import not_known
from farm.accounts import Account
from farm.errors import (
    FarmError,
    FieldError,
    InsufficientCredits,
    InvalidRequest,
    Malformed,
    TooLarge,
    UnreadableImage,
)
from farm.intake.urls import FetchPolicy
from farm.offers import Offers
from farm.parameters import resolve, type_name
from farm.storage import UrlSigner
from farm.submission import Submission
from farm.types import JobRequest, JobState
from farm.views import JobView
from farm.words import credits_of, iso_time, output_url, receipt

_BY_MODEL = ("generate", "audio", "video")
"""Operations with a choice of models: the model says what was done."""
_OLD_CLIENT = "pixelapi-python/0.2."
_LIMIT, _DAYS = 20, 30
"""Of the usage, where the query does not say."""

STATUS = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.BLOCKED: "blocked",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}
_OLD_STATUS = STATUS | {
    JobState.QUEUED: "pending",
    JobState.BLOCKED: "failed",
    JobState.CANCELLED: "failed",
}
_REASONS = {
    JobState.FAILED: "The generation failed. Nothing was charged.",
    JobState.BLOCKED: "The content policy refused this. Nothing was charged.",
    JobState.CANCELLED: "The generation was cancelled. Nothing was charged.",
    JobState.EXPIRED: "The generation did not start in time. Nothing was charged. Send it again.",
}


def statuses_for(user_agent: str) -> Mapping[JobState, str]:
    """The status words this client knows: the 0.2 Python client raises on any but four."""
    return _OLD_STATUS if user_agent.startswith(_OLD_CLIENT) else STATUS


def decode_generate(
    body: Mapping[str, Any],
    offers: Offers,
    storefront: str,
    policy: FetchPolicy,
    operation: str = "generate",
) -> JobRequest:
    """The body of ``POST /v1/image/generate`` as a job, or of another operation's that has a
    choice of models.

    Raises:
        InvalidRequest: naming every field that is missing, of the wrong type or out of range.
    """
    name = body.get("model")
    if name is not None and not isinstance(name, str):
        raise InvalidRequest([FieldError("model", f"must be text, not {type_name(name)}.")])
    offer = offers.find(storefront, operation, name)
    card = offer.card
    known = card.params_of(operation)
    problems = Problems()
    webhook_url: str | None = None
    params: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    with problems.gathered():
        params, warnings = resolve(card, {n: body[n] for n in known if n in body}, operation)
    with problems.gathered():
        webhook_url = decode_webhook(body.get(WEBHOOK), policy)
    problems.check()
    warnings += not_known(body, ("model", *known, WEBHOOK))
    return JobRequest(
        card.id, operation, params, warnings, webhook_url=webhook_url, sold_as=offer.sold_as
    )


def encode_submission(submission: Submission, words: Mapping[JobState, str]) -> dict[str, Any]:
    """The answer to a submit."""
    answer: dict[str, Any] = {
        "generation_id": encode_id(submission.operation, submission.job_id),
        "status": words[submission.state],
        **_kind(submission.model, submission.operation),
        "credits_used": credits_of(submission.price_tenths),
    }
    if submission.warnings:
        answer["warnings"] = list(submission.warnings)
    return answer


def encode_job(
    job: JobView, words: Mapping[JobState, str], signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """The status object of one job."""
    job_id = encode_id(job.operation, job.id)
    answer: dict[str, Any] = {
        "id": job_id,
        "generation_id": job_id,
        "status": words[job.state],
        "output_url": output_url(job, signer, public_url),
        **_kind(job.sold_model, job.operation),
        "credits_used": credits_of(job.credits_tenths),
        "created_at": iso_time(job.created_at),
        "attempts": job.attempt,
        "receipt": receipt(job),
    }
    seed = job.facts.get("seed", job.params.get("seed"))
    if seed is not None:
        answer["seed"] = seed
    if job.finished_at is not None:
        answer["completed_at"] = iso_time(job.finished_at)
    if job.processing_ms is not None:
        answer["processing_ms"] = job.processing_ms
    if job.served_by is not None:
        answer["served_by"] = job.served_by
    if job.place is not None:
        answer |= job.place.told()
    if job.state is JobState.CANCELLED and job.finished_at is not None:
        answer["cancel_requested_at"] = iso_time(job.finished_at)
        if job.freed_at is not None:
            answer["worker_freed_at"] = iso_time(job.freed_at)
    if job.steps:
        answer["progress"] = {"step": job.step, "steps": job.steps}
    if job.state in _REASONS:
        answer["error"] = answer["error_message"] = job.error_message or _REASONS[job.state]
    if job.warnings:
        answer["warnings"] = list(job.warnings)
    return answer


def encode_job_for(
    jobs: Sequence[JobView], agent: str, signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """The status object in the words that a client of this User-Agent knows."""
    [job] = jobs
    return encode_job(job, statuses_for(agent), signer, public_url)


def encode_usage(
    jobs: list[JobView],
    total: int,
    words: Mapping[JobState, str],
    signer: UrlSigner,
    public_url: str,
) -> dict[str, Any]:
    """The account's newest jobs, each with its prompt."""
    usage = [
        encode_job(job, words, signer, public_url) | {"prompt": job.params.get("prompt", "")}
        for job in jobs
    ]
    return {"usage": usage, "total": total}


def encode_balance(account: Account) -> dict[str, Any]:
    """What can be spent now."""
    return {
        "credits_remaining": credits_of(account.available_tenths),
        "plan": account.plan,
        "email": account.email,
    }


def decode_usage_query(query: Mapping[str, str]) -> tuple[int, int]:
    """``limit`` (1-100, default 20) and ``days`` (1-365, default 30). Raises InvalidRequest."""
    problems: list[FieldError] = []
    limit = whole_number(query.get("limit"), "limit", 1, 100, problems)
    days = whole_number(query.get("days"), "days", 1, 365, problems)
    if problems:
        raise InvalidRequest(problems)
    return limit or _LIMIT, days or _DAYS


def render_error(error: FarmError, pricing_url: str) -> dict[str, Any]:
    """The body of an error answer: a sentence, and the fields that are wrong."""
    if isinstance(error, TryOnRefused):
        return {"detail": error.rendered()}
    if isinstance(error, InvalidRequest):
        fields = [{"field": e.field, "message": e.message} for e in error.errors]
        return {"detail": str(error), "errors": fields}
    if isinstance(error, Malformed | TooLarge | UnreadableImage):
        field = "body" if isinstance(error, Malformed) else error.field
        message = str(error).removeprefix(f"{field}: ")
        return {"detail": str(error), "errors": [{"field": field, "message": message}]}
    if isinstance(error, InsufficientCredits):
        return {"detail": f"{error} Upgrade at {pricing_url}/#pricing"}
    return {"detail": str(error)}


def _kind(model: str, operation: str) -> dict[str, str]:
    return {"model": model} if operation in _BY_MODEL else {"operation": operation}
