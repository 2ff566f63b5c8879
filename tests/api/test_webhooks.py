"""Webhook endpoints over HTTP: made, shown, changed, tested, replayed; and by nobody else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from api.runtime import Runtime
from farm.webhooks import deliveries, endpoints
from tests import factories
from tests.api.caller import Caller

ROOT = "/v1/account/webhooks"
URL = "https://shop.example/hook"


def send(caller: Caller, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The status and the JSON of a call with the caller's key."""
    answer = caller.app.test_client().open(path, method=method, json=body, headers=caller.headers)
    return answer.status_code, answer.json


def added(caller: Caller, **body: Any) -> dict[str, Any]:
    status, answer = send(caller, "POST", ROOT, {"url": URL, **body})
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


def test_an_endpoint_from_its_making_to_its_end(caller: Caller) -> None:
    made = added(caller, events=["job.succeeded"])
    secret, path = made.pop("secret"), f"{ROOT}/{made['id']}"
    assert secret.startswith("whsec_")
    assert made == {
        "id": made["id"],
        "url": URL,
        "events": ["job.succeeded"],
        "enabled": True,
        "disabled_reason": None,
        "failing_since": None,
        "previous_secret_until": None,
        "created_at": made["created_at"],
    }
    assert send(caller, "GET", ROOT) == (200, {"object": "list", "data": [made]})
    assert send(caller, "GET", path) == (200, made)
    assert send(caller, "GET", f"{path}/secret") == (200, {"id": made["id"], "secret": secret})
    status, changed = send(caller, "PATCH", path, {"enabled": False, "events": None})
    assert (status, changed["enabled"], changed["events"]) == (200, False, None)
    assert changed["disabled_reason"] == "switched_off"
    status, rotated = send(caller, "POST", f"{path}/rotate")
    assert (status, rotated["secret"] != secret) == (200, True)
    assert rotated["previous_secret_until"] is not None
    assert send(caller, "DELETE", path) == (200, {"id": made["id"], "deleted": True})
    assert send(caller, "GET", path)[0] == send(caller, "DELETE", path)[0] == 404
    assert send(caller, "GET", ROOT)[1]["data"] == []


def test_messages_are_listed_page_by_page_and_sent_again(caller: Caller) -> None:
    path = f"{ROOT}/{added(caller)['id']}"
    status, ping = send(caller, "POST", f"{path}/test")
    assert (status, ping["type"], ping["state"], ping["tries"]) == (
        200,
        "test.ping",
        "scheduled",
        [],
    )
    for _ in range(2):
        send(caller, "POST", f"{path}/test")
    first = send(caller, "GET", f"{path}/deliveries?limit=2")[1]
    second = send(caller, "GET", f"{path}/deliveries?limit=2&before={first['next']}")[1]
    assert [len(first["data"]), len(second["data"]), second["next"]] == [2, 1, None]
    assert second["data"] == [ping]
    assert send(caller, "GET", f"{ROOT}/deliveries/{ping['id']}") == (200, ping)
    with caller.services.db.statement() as connection:
        connection.execute(
            text("UPDATE webhook_deliveries SET state = 'given_up', ended_at = now()")
        )
    since = {"since": "2026-01-01T00:00:00Z"}
    assert send(caller, "POST", f"{path}/replay", since) == (200, {"replayed": 3})
    status, again = send(caller, "POST", f"{ROOT}/deliveries/{ping['id']}/replay")
    assert (status, again["id"], again["state"]) == (200, ping["id"], "scheduled")


def test_the_default_has_a_secret_and_nothing_else(caller: Caller) -> None:
    path = f"{ROOT}/default"
    status, found = send(caller, "GET", path)
    assert (status, found["id"], found["url"]) == (200, "default", None)
    secret = send(caller, "GET", f"{path}/secret")[1]["secret"]
    assert send(caller, "POST", f"{path}/rotate")[1]["secret"] != secret
    assert send(caller, "GET", f"{path}/deliveries")[1]["data"] == []
    for method, rest in (("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/replay")):
        assert send(caller, method, path + rest, {})[0] == 404
    assert send(caller, "GET", ROOT)[1]["data"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": 7}, "url"),
        ({"url": "http://shop.example/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["job.done"]}, "events"),
        ({"url": URL, "events": "job.failed"}, "events"),
        ({"url": URL, "event": ["job.failed"]}, "event"),
    ],
)
def test_what_is_wrong_is_named(caller: Caller, body: dict[str, Any], field: str) -> None:
    status, answer = send(caller, "POST", ROOT, body)
    assert (status, answer["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "before=msg_1"])
def test_a_page_that_cannot_be_is_refused(caller: Caller, query: str) -> None:
    assert send(caller, "GET", f"{ROOT}/default/deliveries?{query}")[0] == 422


def test_another_accounts_endpoint_is_unknown(app: Flask, runtime: Runtime, caller: Caller) -> None:
    mine = added(caller)["id"]
    services = runtime.services
    endpoint = endpoints.get_endpoint(services.db, None, uuid.UUID(mine))
    message = f"msg_{deliveries.ping(services.db, endpoint).hex}"
    other = Caller(app, services, factories.customer(services, plan="pro"))
    since = {"since": "2026-01-01"}
    for method, path, body in (
        ("GET", mine, None),
        ("PATCH", mine, {"enabled": False}),
        ("DELETE", mine, None),
        ("GET", f"{mine}/secret", None),
        ("POST", f"{mine}/rotate", None),
        ("POST", f"{mine}/test", None),
        ("POST", f"{mine}/replay", since),
        ("GET", f"{mine}/deliveries", None),
        ("GET", f"deliveries/{message}", None),
        ("POST", f"deliveries/{message}/replay", None),
    ):
        assert send(other, method, f"{ROOT}/{path}", body)[0] == 404, (method, path)
    assert send(caller, "GET", f"{ROOT}/{mine}")[1]["enabled"]


def test_a_plan_without_webhooks_is_told_which_have_them(free_caller: Caller) -> None:
    for method, path in (("GET", ROOT), ("POST", ROOT), ("GET", f"{ROOT}/default/secret")):
        status, answer = send(free_caller, method, path, {"url": URL} if method == "POST" else None)
        assert status == 403
        assert "pro or scale" in answer["detail"]
