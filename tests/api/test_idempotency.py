"""One Idempotency-Key, one job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from api.runtime import Runtime
from tests import factories
from tests.api.caller import Caller


def test_the_same_key_and_body_get_the_first_answer(caller: Caller) -> None:
    first = caller.generate({"prompt": "a", "seed": 1}, Idempotency_Key="order-1")
    after_one = caller.footprint()
    again = caller.generate({"seed": 1, "prompt": "a"}, Idempotency_Key="order-1")
    assert again.status_code == first.status_code == 200
    assert again.json == first.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert caller.footprint() == after_one


def test_the_first_answer_stays_when_the_job_moves_on(runtime: Runtime, caller: Caller) -> None:
    first = caller.generate({"prompt": "a"}, Idempotency_Key="k").json
    claim = factories.claimed(runtime.services, first["generation_id"])
    factories.succeed(runtime.services, claim)
    assert caller.generate({"prompt": "a"}, Idempotency_Key="k").json == first


def test_the_same_key_with_another_body_is_a_422(caller: Caller) -> None:
    caller.generate({"prompt": "a"}, Idempotency_Key="k")
    before = caller.footprint()
    response = caller.generate({"prompt": "b"}, Idempotency_Key="k")
    assert response.status_code == 422
    assert "Idempotency-Key" in response.json["detail"]
    assert caller.footprint() == before


def test_keys_of_two_accounts_are_strangers(app: Flask, runtime: Runtime, caller: Caller) -> None:
    other = Caller(app, runtime.services, factories.customer(runtime.services))
    mine = caller.generate({"prompt": "a"}, Idempotency_Key="k").json
    theirs = other.generate({"prompt": "a"}, Idempotency_Key="k").json
    assert mine["generation_id"] != theirs["generation_id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "a\tb"])
def test_a_key_that_cannot_be_one_is_named(caller: Caller, key: str) -> None:
    before = caller.footprint()
    response = caller.generate({"prompt": "a"}, Idempotency_Key=key)
    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == "Idempotency-Key"
    assert caller.footprint() == before


@pytest.mark.parametrize("key", ["x", "x" * 255, "order #7 / line 2"])
def test_any_printable_key_of_at_most_255_works(caller: Caller, key: str) -> None:
    assert caller.generate({"prompt": "a"}, Idempotency_Key=key).status_code == 200


def test_a_request_that_was_refused_may_be_sent_again(free_caller: Caller) -> None:
    assert free_caller.generate({"prompt": ""}, Idempotency_Key="k").status_code == 422
    assert free_caller.generate({"prompt": "a"}, Idempotency_Key="k").status_code == 200


def test_a_blocked_prompt_is_replayed_as_blocked(caller: Caller) -> None:
    body = {"prompt": "a forbidden fruit"}
    first = caller.generate(body, Idempotency_Key="k").json
    assert first["status"] == "blocked"
    assert caller.generate(body, Idempotency_Key="k").json == first


def test_a_race_makes_one_job(caller: Caller) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda _: caller.generate({"prompt": "a"}, Idempotency_Key="r"), range(24))
        )
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({a.json["generation_id"] for a in answers if a.status_code == 200}) == 1
    footprint = caller.footprint()
    assert footprint["jobs"] == footprint["holds"] == 1
    assert footprint["held"] == 30
