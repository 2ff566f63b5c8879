"""Errors as OpenAI's clients know them: a status and, beside the sentence, a word for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.errors import STATUS
from farm.errors import (
    AlreadyEnded,
    FarmError,
    FarmFault,
    FieldError,
    InsufficientCredits,
    InvalidRequest,
    PromptRefused,
    TooLarge,
    UnreadableImage,
)
from farm.types import JobState
from farm.views import JobView

STATUSES = {
    "invalid_request": 400,
    "body_segmentation_failed": 400,
    "input_unavailable": 400,
    "idempotency_mismatch": 400,
}
"""OpenAI's clients expect a 400 for a bad field."""

POLICY = "content_policy_violation"
INVALID = "invalid_request_error"
_WORDS = {
    401: "authentication_error",
    402: "insufficient_credits",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    503: "service_unavailable",
    504: "timeout",
}
_POLICY_CODES = frozenset({"prompt_refused", "content_refused", "blocked"})
_CALLERS_CODES = frozenset(
    {
        "invalid_request",
        "body_segmentation_failed",
        "unreadable_image",
        "too_large",
        "input_unavailable",
    }
)
"""Codes of jobs that failed because of what they were given."""

_REASONS = {
    JobState.FAILED: "The picture could not be made. Nothing was charged.",
    JobState.BLOCKED: "The content policy refused this. Nothing was charged.",
    JobState.CANCELLED: "The task was cancelled. Nothing was charged.",
    JobState.EXPIRED: "The task did not start in time. Nothing was charged. Send it again.",
}


class NothingMade(FarmFault):
    """Every job of a request that was waited for has failed."""


def status_of(code: str) -> int:
    """The HTTP status of an error code here."""
    return STATUSES.get(code) or STATUS[code]


def render_error(error: FarmError, pricing_url: str) -> dict[str, Any]:
    """The body of an error answer."""
    status = status_of(error.code)
    message = str(error)
    if isinstance(error, InsufficientCredits):
        message = f"{error} Upgrade at {pricing_url}/#pricing"
    problem = {
        "code": status,
        "message": message,
        "type": POLICY if error.code in _POLICY_CODES else word_of(status),
        "param": _field_of(error),
    }
    return {"error": problem}


def word_of(status: int) -> str:
    """The word for a status."""
    if status in _WORDS:
        return _WORDS[status]
    return INVALID if status < 500 else "server_error"


def job_problem(job: JobView) -> dict[str, Any] | None:
    """Why a job ended without success, in the words of an error; None while it has not."""
    if job.state not in _REASONS:
        return None
    code = job.error_code or job.state.value
    if job.state is JobState.BLOCKED or code in _POLICY_CODES:
        code = word = POLICY
    elif job.state is JobState.CANCELLED:
        word = "conflict_error"
    else:
        word = INVALID if code in _CALLERS_CODES else "server_error"
    return {"code": code, "message": message_of(job), "type": word}


def message_of(job: JobView) -> str:
    """The sentence about a job that ended without success; a picture has one name here, whether
    it came as a file or by URL."""
    message = job.error_message or _REASONS[job.state]
    for name in ("image", "image_2", "image_3", "image_4", "mask"):
        if message.startswith(f"{name}_url: "):
            return f"{name.partition('_')[0]}{message.removeprefix(f'{name}_url')}"
    return message


def failure_of(jobs: Sequence[JobView]) -> FarmError:
    """The error that whoever waited is told, where every job ended without success: that of
    the first one that was not cancelled."""
    job = next((job for job in jobs if job.state is not JobState.CANCELLED), jobs[0])
    problem, message = job_problem(job), message_of(job)
    assert problem is not None, "a job that succeeded is no failure"
    if problem["type"] == POLICY:
        return PromptRefused(message)
    if job.state is JobState.CANCELLED:
        return AlreadyEnded(message)
    if problem["type"] == INVALID:
        field, colon, rest = message.partition(": ")
        known = colon and field in ("image", "mask", "prompt")
        return InvalidRequest([FieldError(field, rest) if known else FieldError("image", message)])
    return NothingMade(message)


def _field_of(error: FarmError) -> str | None:
    if isinstance(error, InvalidRequest):
        return error.errors[0].field if error.errors else None
    if isinstance(error, UnreadableImage):
        return error.field
    if isinstance(error, TooLarge):
        return None if error.field == "body" else error.field.removesuffix("[]")
    return None
