"""How the dialect says that something went wrong: a code that programs know, and a sentence."""

from __future__ import annotations

from typing import Any

from farm.errors import FarmError, FarmFault, InsufficientCredits, InvalidRequest

STATUSES = {
    "invalid_request": 400,
    "prompt_refused": 409,
    "insufficient_credits": 409,
}
"""Where this dialect's clients expect another HTTP status than the farm's own table has."""

_CODES = {
    "unauthenticated": "unauthorized",
    "forbidden": "forbidden",
    "not_found": "not_found",
    "method_not_allowed": "method_not_allowed",
    "prompt_refused": "content_flagged",
    "insufficient_credits": "insufficient_credits",
    "rate_limited": "rate_limited",
    "too_many_jobs": "rate_limited",
    "already_ended": "already_ended",
    "idempotency_mismatch": "idempotency_mismatch",
    "idempotency_in_flight": "idempotency_in_flight",
}
CODES = ("bad_request", *dict.fromkeys(_CODES.values()), "internal_error")
"""Every code there is."""


def render_error(error: FarmError, pricing_url: str) -> dict[str, Any]:
    """The body of an error answer. Pure."""
    fallback = "internal_error" if isinstance(error, FarmFault) else "bad_request"
    body: dict[str, Any] = {"code": _CODES.get(error.code, fallback), "message": str(error)}
    if isinstance(error, InsufficientCredits):
        body["message"] = f"{error} More credits: {pricing_url}/pricing"
    if isinstance(error, InvalidRequest):
        body["fields"] = [{"field": e.field, "message": e.message} for e in error.errors]
    return {"error": body}
