"""Every error in the contract's shape, whatever raised it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from api.app import create_app, runtime_of
from api.auth import Access, needs
from api.dialect import Dialect
from api.errors import STATUS, dialect_of, error_answer, status_of
from api.request import FarmRequest
from api.runtime import Runtime
from api.storefronts import DIALECTS
from farm import errors, keys
from farm.config import Settings
from tests.api.caller import GENERATE, Caller

ALL_ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.FarmError)
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.id)
@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda k: k.__name__)
def test_every_code_has_a_status_in_every_storefront(
    dialect: object, kind: type[errors.FarmError]
) -> None:
    status = status_of(kind.code, next(d for d in DIALECTS if d is dialect))
    assert 400 <= status <= 599
    assert (status < 500) == issubclass(kind, errors.Rejected | errors.Cancelled)


def made(kind: type[errors.FarmError]) -> errors.FarmError:
    """An error of this kind, as somebody would raise it."""
    field = errors.FieldError("width", "must be from 256 to 2048, got 64.")
    arguments: dict[type[errors.FarmError], tuple[object, ...]] = {
        errors.InvalidRequest: ([field],),
        errors.SegmentationFailed: ([field],),
        errors.TooLarge: (1024, "image"),
        errors.UnreadableImage: ("image", "is not a picture."),
        errors.InsufficientCredits: (30, 15),
        errors.MethodNotAllowed: ("PUT", ["POST"]),
        errors.RateLimited: ("Too many calls.", 7),
        errors.TooManyJobs: ("Too many jobs.", 7),
        errors.QueueFull: ("The queue is full.", 7),
    }
    return kind(*arguments.get(kind, ("Something is not as it should be.",)))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.id)
def test_every_error_has_the_documented_shape(dialect: Dialect) -> None:
    for kind in ALL_ERRORS:
        error = made(kind)
        status, body = error_answer(error, dialect, "https://farm.example")
        assert json.loads(json.dumps(body)) == body
        dialect.problem.model_validate(body, extra="forbid")
        assert str(error) in json.dumps(body), (kind, body)
        assert status == status_of(kind.code, dialect)


def test_the_table_has_no_code_that_nobody_raises() -> None:
    assert set(STATUS) == {kind.code for kind in ALL_ERRORS}


def test_a_path_speaks_its_storefronts_dialect() -> None:
    prefixes = {dialect.id: f"{dialect.id}_" for dialect in DIALECTS}
    for dialect in DIALECTS:
        for path in dialect.paths:
            asked = FarmRequest(EnvironBuilder(path).get_environ())
            assert dialect_of(asked, DIALECTS, prefixes) is dialect
        key = {"Authorization": f"Bearer {dialect.id}_x"}
        shared = FarmRequest(EnvironBuilder("/v1/models", headers=key).get_environ())
        assert dialect_of(shared, DIALECTS, prefixes) is dialect
    nobody = FarmRequest(EnvironBuilder("/anything").get_environ())
    assert dialect_of(nobody, DIALECTS, prefixes) is DIALECTS[0]


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/nowhere", 404, None),
        ("GET", "/v1/nowhere", 404, None),
        ("GET", "//v1/models", 404, None),
        ("GET", "/v1/models/", 404, None),
        ("GET", "/v1/models/nothing", 404, None),
        ("GET", "/v1/image/%ff", 404, None),
        ("GET", "/static/x", 404, None),
        ("GET", GENERATE, 405, "POST"),
        ("PUT", GENERATE, 405, "POST"),
        ("OPTIONS", GENERATE, 405, "POST"),
        ("POST", "/v1/account/balance", 405, "GET, HEAD"),
        ("POST", "/v1/models", 405, "GET, HEAD"),
        ("BREW", "/v1/models", 405, "GET, HEAD"),
    ],
)
def test_unknown_paths_and_methods(
    app: Flask, caller: Caller, method: str, path: str, status: int, allow: str | None
) -> None:
    response = app.test_client().open(path, method=method, headers=caller.headers)
    assert response.status_code == status
    assert list(response.json) == ["detail"]
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers.get("Allow") == allow


@pytest.fixture
def broken(settings: Settings) -> Iterator[Flask]:
    """An application with a route that has a bug."""
    app = create_app(settings)

    @needs(Access.OPEN)
    def explode() -> str:
        raise ZeroDivisionError("a secret of the inside")

    app.view_functions["ops.healthz"] = explode
    yield app
    runtime_of(app).close()


def test_a_bug_is_a_500_that_says_so_and_is_logged(
    broken: Flask, capsys: pytest.CaptureFixture[str]
) -> None:
    response = broken.test_client().get("/healthz", headers={"X-Request-Id": "my-request.1"})
    assert response.status_code == 500
    detail = response.json["detail"]
    assert "bug" in detail
    assert "Nothing was charged" in detail
    assert "my-request.1" in detail
    assert "secret" not in response.text
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    logged = next(line for line in lines if line["event"] == "unhandled exception")
    assert "ZeroDivisionError" in logged["exception"]
    assert logged["request_id"] == "my-request.1"


def test_a_database_that_is_away_is_a_503_with_retry_after(settings: Settings) -> None:
    nowhere = "postgresql+psycopg2://farm@127.0.0.1:1/farm"
    app = create_app(settings.model_copy(update={"database_url": nowhere}))
    try:
        for path, method in ((GENERATE, "POST"), ("/v1/account/balance", "GET")):
            headers = {"Authorization": f"Bearer {keys.generate_key('pk_live_')}"}
            response = app.test_client().open(
                path, method=method, headers=headers, json={"prompt": "a"}
            )
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) > 0
            assert "X-RateLimit-Limit" in response.headers
            assert "127.0.0.1" not in response.text
            assert response.json["detail"]
        assert app.test_client().get("/v1/models").status_code == 200
        assert app.test_client().get("/healthz").status_code == 200
        assert app.test_client().get("/readyz").status_code == 503
        assert b"farm_database_up 0.0" in app.test_client().get("/metrics").data
    finally:
        runtime_of(app).close()


@pytest.mark.usefixtures("own_app")
def test_the_access_log_has_the_request_and_no_secret(
    runtime: Runtime, caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    response = caller.generate({"prompt": "my private prompt"}, X_Request_Id="abc-123")
    runtime.access_log.close()
    assert response.headers["X-Request-Id"] == "abc-123"
    err = capsys.readouterr().err
    line = next(json.loads(t) for t in err.splitlines() if '"request"' in t)
    assert line["request_id"] == "abc-123"
    assert (line["method"], line["path"], line["status"]) == ("POST", GENERATE, 200)
    assert caller.customer.key not in err
    assert "private" not in err


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "caf\u00e9", "a;b", "<script>"])
def test_a_request_id_that_is_no_plain_word_is_replaced(caller: Caller, sent: str) -> None:
    shown = caller.get("/v1/account/balance", X_Request_Id=sent).headers["X-Request-Id"]
    assert len(shown) == 16
    assert shown.isalnum()


def test_answers_carry_security_headers(app: Flask) -> None:
    response = app.test_client().get("/v1/models")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_behind_proxies_the_client_is_the_one_they_name(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"trusted_proxies": 1}))
    try:
        client = app.test_client()
        for address in ("203.0.113.1", "203.0.113.2"):
            response = client.get("/v1/models", headers={"X-Forwarded-For": f"9.9.9.9, {address}"})
            assert response.headers["X-RateLimit-Remaining"] == "299"
        again = client.get("/v1/models", headers={"X-Forwarded-For": "8.8.8.8, 203.0.113.1"})
        assert again.headers["X-RateLimit-Remaining"] == "298"
    finally:
        runtime_of(app).close()


def test_building_the_application_opens_no_connection(settings: Settings) -> None:
    nowhere = {
        "database_url": "postgresql+psycopg2://farm@127.0.0.1:1/farm",
        "broker_url": "redis://127.0.0.1:1/0",
    }
    app = create_app(settings.model_copy(update=nowhere))
    assert app.test_client().get("/healthz").status_code == 200
    runtime_of(app).close()


def test_a_route_that_does_not_say_who_may_call_it_stops_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.ops.needs", lambda access: lambda view: view)
    with pytest.raises(AssertionError, match="not declared"):
        create_app(settings)
