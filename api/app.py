"""The Flask application: what runs around every request, and which routes there are."""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from api import catalogue, docs, errors, jobs, limits, ops, outputs, webhooks
from api.auth import UNKNOWN, Gatekeeper, Policy, policy_of
from api.bodies import finish_reading
from api.dialect import Dialect
from api.hosts import at_hosts
from api.log import Access
from api.metrics import Metrics
from api.rates import Rate
from api.request import FarmRequest, current_request
from api.runtime import Runtime, build_runtime
from api.storefronts import DIALECTS
from farm.config import Settings
from farm.fronts import hosts_served, storefronts_served
from farm.services import open_catalog

_REQUEST_ID_MAX = 64
_LEFTOVER_BYTES = 64 << 20
"""So much of a refused body is read and dropped: twice what any route takes."""
_LEFTOVER_S = 5.0
"""How long the rest of a refused upload is waited for."""
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
)
_DEFAULT_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)


def create_app(
    settings: Settings,
    *,
    metrics_folder: Path | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
) -> Flask:
    """The API for these settings. Opens no connection; the first request does.

    ``app.extensions["farm"]`` is its :class:`api.runtime.Runtime`; close it when done.

    Args:
        metrics_folder: where the API processes of this machine share their request counts.
        dialects: the storefronts there are; the settings say which of them are on.

    Raises:
        SetupError: a setting is missing or wrong; the message says which.
    """
    shops = open_catalog(settings).storefronts
    known = [dialect.id for dialect in dialects if dialect.id in shops]
    served = storefronts_served(settings.storefronts, known)
    hosts = hosts_served(settings.hosts, served)
    dialects = [dialect for dialect in dialects if dialect.id in served]
    runtime = build_runtime(settings)
    metrics = Metrics(runtime.reports_db, runtime.services.catalog, metrics_folder)
    app = Flask("api", static_folder=None)
    app.request_class = FarmRequest
    app.config.update(MAX_CONTENT_LENGTH=settings.body_bytes_max, PROVIDE_AUTOMATIC_OPTIONS=False)
    # A path is what it says: no redirect to a tidier one, which a POST would not survive.
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    _add_routes(app, runtime, metrics, dialects, hosts)
    errors.install(app, dialects, runtime)
    _add_hooks(app, runtime, metrics, served)
    if hosts:
        bases = {storefront: shops[storefront].base_path for storefront in served}
        app.wsgi_app = at_hosts(app.wsgi_app, hosts, bases)  # type: ignore[assignment,method-assign]
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    app.extensions["farm"] = runtime
    return app


def _add_routes(
    app: Flask,
    runtime: Runtime,
    metrics: Metrics,
    dialects: Sequence[Dialect],
    hosts: Mapping[str, str],
) -> None:
    public_url = runtime.settings.public_url.rstrip("/")
    specs = {dialect.id: docs.specification(dialect, public_url) for dialect in dialects}
    for dialect in dialects:
        app.register_blueprint(dialect.blueprint(runtime, specs[dialect.id]))
    app.register_blueprint(catalogue.blueprint(runtime, dialects, specs))
    app.register_blueprint(jobs.blueprint(runtime, dialects, specs))
    app.register_blueprint(
        webhooks.blueprint(runtime, [(specs[dialect.id], dialect) for dialect in dialects])
    )
    app.register_blueprint(outputs.blueprint(runtime))
    app.register_blueprint(docs.blueprint(runtime, dialects, specs, hosts))
    app.register_blueprint(ops.blueprint(runtime, metrics))
    with app.app_context():
        for spec in specs.values():
            _ = spec.spec  # written now, from the routes as they stand
    # Documented, routes no longer need the wrappers that they were documented by.
    for endpoint, view in app.view_functions.items():
        app.view_functions[endpoint] = inspect.unwrap(view)


def _add_hooks(app: Flask, runtime: Runtime, metrics: Metrics, served: Collection[str]) -> None:
    gatekeeper = Gatekeeper(runtime, served)
    policies = _policies(app)
    limiter, leases = runtime.limiter, runtime.leases

    def before() -> None:
        request = current_request()
        request.started = time.perf_counter()
        request.request_id = _request_id(request.environ.get("HTTP_X_REQUEST_ID", ""))
        rule = request.url_rule
        gatekeeper.identify(request, policies[rule.endpoint] if rule else UNKNOWN)
        if request.calls > 1:
            request.rate = leases.take(request.bucket)

    def admit() -> None:
        refusal = current_request().refusal
        if refusal is not None:
            raise refusal

    leftover_max = max(2 * runtime.settings.body_bytes_max, _LEFTOVER_BYTES)

    def after(response: Response) -> Response:
        request = current_request()
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            finish_reading(request, leftover_max, time.monotonic() + _LEFTOVER_S)
        _add_headers(response, request, limits.standing(limiter, leases))
        status = response.status_code
        seconds = time.perf_counter() - request.started
        metrics.observe(request.endpoint or "unknown", status, seconds)
        caller = request.principal
        runtime.access_log.add(
            Access(
                time.time(),
                request.request_id,
                request.method,
                request.asked_path,
                status,
                seconds,
                caller.key_id if caller else None,
            )
        )
        return response

    # In this order: who it is, whether that is too often, whether they may come in.
    app.before_request(before)
    limiter.init_app(app)
    app.before_request(admit)
    app.after_request(after)


def _policies(app: Flask) -> dict[str, Policy]:
    """What each route asks for; a route that does not say stops the start, not a request."""
    found: dict[str, Policy] = {}
    for endpoint, view in app.view_functions.items():
        policy = policy_of(view)
        assert policy is not None, f"the view {endpoint} is not declared with needs()"
        found[endpoint] = policy
    return found


def _add_headers(response: Response, request: FarmRequest, rate: Rate) -> None:
    headers = response.headers
    present = set(headers.keys()) if len(headers) > 2 else ()
    added: list[tuple[str, str]] = [("X-Request-Id", request.request_id), *_HEADERS]
    added += [pair for pair in _DEFAULT_HEADERS if pair[0] not in present]
    added += [
        ("X-RateLimit-Limit", str(rate.limit)),
        ("X-RateLimit-Remaining", str(rate.remaining)),
        ("X-RateLimit-Reset", str(rate.reset)),
    ]
    headers.extend(added)


def _request_id(given: str) -> str:
    """The caller's own id where it is a plain word, else a random one."""
    if given and given.isascii() and len(given) <= _REQUEST_ID_MAX:
        word = given.replace("-", "").replace("_", "").replace(".", "")
        if word.isalnum():
            return given
    # Not a secret, so not from the operating system: that is a call that lets other threads in.
    return f"{random.getrandbits(64):016x}"


def runtime_of(app: Flask) -> Runtime:
    """The collaborators of an application made here."""
    found: Any = app.extensions["farm"]
    assert isinstance(found, Runtime)
    return found
