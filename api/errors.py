"""One table: error code -> HTTP status. A storefront overrides a line, never the table.

Every error leaves the API through :func:`install`: the farm's own, Flask's (unknown paths,
wrong methods, bodies that are too large) and bugs, each in the shape of the storefront whose
path was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Flask, Response
from flask_limiter import RateLimitExceeded
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)

from api.auth import over_limit
from api.dialect import Dialect
from api.limits import standing
from api.log import get_logger
from api.replies import json_reply
from api.request import FarmRequest, current_request
from api.runtime import Runtime
from farm import errors

STATUS = {
    "farm_error": 500,
    "rejected": 400,
    "invalid_request": 422,
    "body_segmentation_failed": 422,
    "malformed": 400,
    "too_large": 413,
    "unreadable_image": 400,
    "input_unavailable": 422,
    "prompt_refused": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "insufficient_credits": 402,
    "not_found": 404,
    "method_not_allowed": 405,
    "rate_limited": 429,
    "too_many_jobs": 429,
    "already_ended": 409,
    "idempotency_mismatch": 422,
    "idempotency_in_flight": 409,
    "farm_fault": 500,
    "database_unavailable": 503,
    "broker_unavailable": 503,
    "storage_unavailable": 503,
    "still_running": 504,
    "overloaded": 503,
    "queue_full": 503,
    "setup_error": 500,
    "extra_missing": 500,
    "weights_missing": 500,
    "engine_failed": 500,
    "gpu_out_of_memory": 503,
    "gpu_failed": 503,
    "upstream_failed": 502,
    "upstream_unavailable": 503,
    "content_refused": 400,
    "cancelled": 409,
}
_UNAVAILABLE = 503
_RETRY_AFTER_S = {_UNAVAILABLE: 2, 409: 1}

_log = get_logger("api.errors")


def status_of(code: str, dialect: Dialect) -> int:
    """The HTTP status of an error code in a storefront."""
    return dialect.statuses.get(code) or STATUS[code]


def problems_of(dialect: Dialect, codes: Sequence[str]) -> dict[str, Any]:
    """Errors of a path that storefronts share, as a storefront's document names its answers."""
    return {f"HTTP_{status_of(code, dialect)}": dialect.problem for code in codes}


def dialect_of(
    request: FarmRequest, dialects: Sequence[Dialect], prefixes: Mapping[str, str]
) -> Dialect:
    """Whose words an error of this request has.

    The dialect of the host, where it is one storefront's own, else of the path (the longest
    prefix decides); on paths that storefronts share, and on those that nobody has, the
    caller's; the first storefront speaks to those who show no key.

    Args:
        prefixes: what keys begin with, by storefront.
    """
    if request.front:
        return next(d for d in dialects if d.id == request.front)
    path = request.path
    fitting = [(len(p), d) for d in dialects for p in d.paths if path.startswith(p)]
    if fitting:
        return max(fitting, key=lambda pair: pair[0])[1]
    known_as = request.principal.storefront if request.principal else request.known_as
    by_id = {dialect.id: dialect for dialect in dialects}
    if known_as in by_id:
        return by_id[known_as]
    key = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")[2]
    return next((d for d in dialects if key.startswith(prefixes[d.id])), dialects[0])


def error_answer(
    error: errors.FarmError, dialect: Dialect, pricing_url: str
) -> tuple[int, Mapping[str, Any]]:
    """Status and body of an error in a dialect. Pure."""
    return status_of(error.code, dialect), dialect.render_error(error, pricing_url)


def install(app: Flask, dialects: Sequence[Dialect], runtime: Runtime) -> None:
    """Answer every exception of the application in the contract's shape."""
    pricing_url, body_max = runtime.settings.pricing_url, runtime.settings.body_bytes_max
    shops = runtime.services.catalog.storefronts
    prefixes = {dialect.id: shops[dialect.id].key_prefix for dialect in dialects}

    def answer(error: errors.FarmError) -> Response:
        request = current_request()
        return _render(error, dialect_of(request, dialects, prefixes), pricing_url)

    def http_answer(error: HTTPException) -> Response:
        request = current_request()
        dialect = dialect_of(request, dialects, prefixes)
        response = _render(_translated(error, request, body_max), dialect, pricing_url)
        if response.status_code == STATUS["malformed"]:
            response.status_code = error.code or STATUS["malformed"]
        return response

    def too_often(_: RateLimitExceeded) -> Response:
        rate = standing(runtime.limiter, runtime.leases)
        return answer(over_limit(current_request(), rate, pricing_url, shops))

    app.register_error_handler(errors.FarmError, answer)
    app.register_error_handler(RateLimitExceeded, too_often)
    app.register_error_handler(HTTPException, http_answer)
    app.register_error_handler(Exception, _bug(answer))


def _bug(answer: Callable[[errors.FarmError], Response]) -> Callable[[Exception], Response]:
    def handle(error: Exception) -> Response:
        request = current_request()
        _log.error(
            "unhandled exception",
            method=request.method,
            path=request.path,
            request_id=request.request_id,
            exc_info=error,
        )
        return answer(
            errors.FarmFault(
                "This is a bug in the farm, not in your request. It has been logged under "
                f"request id {request.request_id}. Nothing was charged."
            )
        )

    return handle


def _translated(error: HTTPException, request: FarmRequest, body_max: int) -> errors.FarmError:
    """Flask's own refusals, as errors of the farm."""
    if isinstance(error, NotFound):
        return errors.NotFound(f"There is nothing at {request.asked_path[:200]}. See /docs.")
    if isinstance(error, MethodNotAllowed):
        return errors.MethodNotAllowed(request.method, list(error.valid_methods or ()))
    if isinstance(error, RequestEntityTooLarge):
        return errors.TooLarge(body_max)
    if isinstance(error, ClientDisconnected):
        return errors.Malformed("The body broke off before its end, or its chunks are damaged.")
    return errors.Malformed(error.description or error.name)


def _render(error: errors.FarmError, dialect: Dialect, pricing_url: str) -> Response:
    status, body = error_answer(error, dialect, pricing_url)
    response = json_reply(body, status)
    if isinstance(error, errors.RateLimited | errors.QueueFull):
        response.headers["Retry-After"] = str(error.retry_after_s)
    elif status == _UNAVAILABLE or isinstance(error, errors.IdempotencyInFlight):
        response.headers["Retry-After"] = str(_RETRY_AFTER_S[status])
    if isinstance(error, errors.MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.allowed)
    if status == STATUS["unauthenticated"]:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
