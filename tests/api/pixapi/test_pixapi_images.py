"""``/v1/images/generations``: waits, and answers as OpenAI does; its twin makes a task."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from api.app import create_app, runtime_of
from api.storefronts.pixapi.orders import PATHS
from farm import jobs
from farm.catalog import built_in_catalog
from farm.config import Settings
from farm.types import JobState
from farm.views import JobView
from tests import factories
from tests.api.caller import Caller
from tests.api.pixapi.work import answered, end, jobs_of, problem, standing
from tests.contracts.storefront import Shop
from tests.farm.checks import assert_books_balance

WAIT, LATER = "/v1/images/generations", "/v1/async/images/generations"
BODY = {"model": "sdxl", "prompt": "a red circle"}
INVALID, POLICY = "invalid_request_error", "content_policy_violation"


@pytest.fixture
def caller(shop: Shop) -> Caller:
    """A customer who affords everything."""
    return shop.caller("pixapi", "business")


def generated(caller: Caller, *ends: str, **fields: Any) -> Any:
    """The answer to a request that waits for as many pictures as there are ends."""
    body = {**BODY, "n": len(ends), **fields}
    return answered(caller, lambda: caller.post(WAIT, body), ends)


def submitted(caller: Caller, **fields: Any) -> list[JobView]:
    """The jobs of an asynchronous request."""
    before = len(jobs_of(caller))
    response = caller.post(LATER, {**BODY, **fields})
    assert response.status_code == 200, response.text
    return jobs_of(caller)[before:]


def test_the_answer_comes_with_the_picture(caller: Caller) -> None:
    before = standing(caller)
    response = generated(caller, "succeed")
    assert response.status_code == 200
    answer = response.json
    [job] = jobs_of(caller)
    link = answer["data"][0].pop("url")
    assert answer == {
        "created": int(job.created_at.timestamp()),
        "data": [{}],
        "size": "1024x1024",
        "quality": "standard",
        "output_format": "png",
        "usage": {"credits": 2.0},
    }
    with caller.app.test_client().get(link) as file:
        assert file.data == b"picture"
    assert standing(caller) == (before[0] - 20, 0)
    for name in ("X-RateLimit-Limit", "X-Request-Id", "Content-Type"):
        assert response.headers[name], name


def test_as_base64_it_is_the_picture_itself(caller: Caller) -> None:
    answer = generated(caller, *["succeed"] * 3, response_format="b64_json").json
    assert [set(one) for one in answer["data"]] == [{"b64_json"}] * 3
    assert {base64.b64decode(one["b64_json"]) for one in answer["data"]} == {b"picture"}
    assert answer["usage"] == {"credits": 6.0}


def test_what_failed_beside_others_is_told_and_not_charged(caller: Caller) -> None:
    before = standing(caller)
    answer = generated(caller, "succeed", "fail", "block", "succeed").json
    assert len(answer["data"]) == 2
    assert answer["usage"] == {"credits": 4.0}
    assert answer["failed"] == [
        {
            "index": 1,
            "error": {"code": "engine_failed", "message": "It broke.", "type": "server_error"},
        },
        {
            "index": 2,
            "error": {"code": POLICY, "message": "The result was refused.", "type": POLICY},
        },
    ]
    assert standing(caller) == (before[0] - 40, 0)
    assert_books_balance(caller.services)


@pytest.mark.parametrize(
    ("ends", "status", "word", "sentence"),
    [
        (("fail", "fail"), 500, "server_error", "It broke."),
        (("block",), 400, POLICY, "The result was refused."),
        (("cancel", "fail"), 500, "server_error", "It broke."),
        (("cancel", "cancel"), 409, "conflict_error", "was cancelled"),
        (("refuse",), 400, INVALID, "It broke."),
    ],
)
def test_where_nothing_was_made_the_reason_is_told(
    caller: Caller, ends: tuple[str, ...], status: int, word: str, sentence: str
) -> None:
    before = standing(caller)
    response = generated(caller, *ends)
    assert sentence in problem(response, status, word)["message"]
    # OpenAI's clients would send it again, and pay for another one.
    assert response.headers["x-should-retry"] == "false"
    assert standing(caller) == before
    assert_books_balance(caller.services)


def test_a_picture_that_cannot_be_read_back_is_the_farms_trouble(caller: Caller) -> None:
    response = generated(caller, "lose", "succeed", response_format="b64_json")
    error = problem(response, 503, "service_unavailable")
    assert f"task_{jobs_of(caller)[0].id.hex}" in error["message"]
    assert response.headers["x-should-retry"] == "false"


def test_what_takes_too_long_goes_on_as_a_task(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"sync_wait_s": 0.2}))
    runtime = runtime_of(app)
    who = factories.customer(runtime.services, storefront="pixapi", plan="business")
    caller = Caller(app, runtime.services, who)
    response = caller.post(WAIT, {**BODY, "n": 2})
    error = problem(response, 504, "timeout")
    first, second = jobs_of(caller)
    assert f"GET /v1/tasks/task_{first.id.hex}" in error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert caller.get(f"/v1/tasks/task_{first.id.hex}").json["status"] == "submitted"
    assert standing(caller)[1] == 40
    end(caller, first, "succeed")
    end(caller, second, "succeed")
    assert len(caller.get(f"/v1/tasks/task_{first.id.hex}").json["data"]) == 2
    runtime.close()


def test_each_of_the_n_has_a_seed_of_its_own(caller: Caller) -> None:
    assert [job.params["seed"] for job in submitted(caller, n=3, seed=7)] == [7, 8, 9]
    wrapped = [job.params["seed"] for job in submitted(caller, n=3, seed=2**32 - 2)]
    assert wrapped == [2**32 - 2, 2**32 - 1, 0]
    assert len({job.params["seed"] for job in submitted(caller, n=4)}) == 4


def test_a_batch_that_is_affordable_only_in_part_is_not_made(shop: Shop) -> None:
    caller = shop.caller("pixapi", "free")  # 20 credits, and nano-banana costs 8
    before = caller.footprint()
    for path in (WAIT, LATER):
        body = {**BODY, "model": "nano-banana", "n": 3}
        error = problem(caller.post(path, body), 402, "insufficient_credits")
        assert "Required: 24, available: 20" in error["message"]
    assert caller.footprint() == before


def test_a_finer_picture_has_more_steps_and_costs_twice(caller: Caller) -> None:
    for quality in ("hd", "high"):
        [job] = submitted(caller, quality=quality, model="flux-schnell")
        assert (job.params["steps"], job.price_tenths) == (8, 40)
    for quality in ("standard", "low", "medium", "auto"):
        [job] = submitted(caller, quality=quality, model="flux-schnell")
        assert (job.params["steps"], job.price_tenths) == (4, 20)
    assert generated(caller, "succeed", quality="hd").json["quality"] == "hd"


def test_the_documented_range_of_sizes_is_that_of_the_cards(caller: Caller) -> None:
    document = caller.get("/docs/pixapi/openapi.json").json
    shapes = document["components"]["schemas"]
    fields = shapes["Images-sdxl"]["properties"]
    pattern = re.compile(fields["size"]["anyOf"][0]["pattern"])
    for size in ("256x2048", "300x512", "1999x2047", "auto"):
        assert pattern.search(size)
        sides = ["1024", "1024"] if size == "auto" else size.split("x")
        [job] = submitted(caller, size=size)
        assert [str(job.params[name]) for name in ("width", "height")] == sides
    for size in ("255x256", "2049x256", "256x2050", "512", "AUTO", "0512x512"):
        assert not pattern.search(size)
    for card in built_in_catalog().models.values():
        if card.type == "image":
            assert {(card.params[s].min, card.params[s].max) for s in ("width", "height")} == {
                (256, 2048)
            }


def test_every_alias_is_sold_under_the_models_own_name(caller: Caller) -> None:
    [job] = submitted(caller, model="nano-banana-pro")
    assert (job.sold_model, job.model, job.price_tenths) == (
        "gemini-3-pro-image-preview",
        "flux-schnell",
        200,
    )


def test_the_limit_of_the_model_that_runs_applies_to_the_prompt(caller: Caller) -> None:
    body = {**BODY, "model": "gpt-image-2", "prompt": "a" * 2001}
    error = problem(caller.post(LATER, body), 400, INVALID)
    assert error["param"] == "prompt"
    assert error["message"] == "prompt: must be at most 2000 characters, got 2,001."


BAD = (
    ("n", 0, "from 1 to 4, got 0"),
    ("n", 5, "from 1 to 4, got 5"),
    ("n", "2", "whole number"),
    ("n", 1.5, "whole number"),
    ("n", True, "whole number"),
    ("size", "10x10", "from 256x256 to 2048x2048"),
    ("size", "2049x512", "from 256x256 to 2048x2048"),
    ("size", "1024", "WIDTHxHEIGHT"),
    ("size", "axb", "WIDTHxHEIGHT"),
    ("size", "512x512x512", "WIDTHxHEIGHT"),
    ("size", "٥١٢x512", "WIDTHxHEIGHT"),
    ("size", 1024, "not a number"),
    ("size", "9" * 500, "WIDTHxHEIGHT"),
    ("quality", "best", "one of standard, hd"),
    ("quality", ["hd"], "one of standard, hd"),
    ("response_format", "json", "one of url, b64_json"),
    ("output_format", "gif", "one of png, jpeg, webp"),
    ("seed", -1, "from 0 to 4294967295"),
    ("seed", 2**32, "from 0 to 4294967295"),
    ("seed", "7", "whole number"),
    ("prompt", "", "must not be empty"),
    ("prompt", None, "is required"),
    ("prompt", ["a"], "must be text"),
    ("prompt", "a\x00b", "NUL"),
    ("prompt", "a" * 32_001, "at most 2000"),
    ("model", None, "is required"),
    ("model", 7, "must be text"),
    ("model", "dall-e-3", "Choose one of sdxl, flux-schnell"),
    ("model", "m" * 9999, "Choose one of"),
    ("model", "wan2.1", "/v1/async/videos/generations"),
    ("model", "veo", "/v1/async/videos/generations"),
    ("model", "flux-kontext", "/v1/images/edits"),
    ("model", "remove-background", "/v1/images/edits"),
    ("model", "musicgen-small", "Choose one of"),
    ("webhook_url", "ftp://example.com", "http"),
)


def test_bad_fields_are_named_and_nothing_is_made(caller: Caller) -> None:
    before = caller.footprint()
    for path in (WAIT, LATER):
        for field, value, words in BAD:
            error = problem(caller.post(path, {**BODY, field: value}), 400, INVALID)
            assert (error["param"], words in error["message"]) == (field, True), error
    several = {**BODY, "n": 9, "size": "1x1", "quality": 3}
    error = problem(caller.post(WAIT, several), 400, INVALID)
    assert all(f"{name}: " in error["message"] for name in ("n", "size", "quality"))
    assert caller.footprint() == before


def test_refused_words_make_no_job(caller: Caller) -> None:
    before = caller.footprint()
    for path in (WAIT, LATER):
        body = {**BODY, "prompt": "Forbidden  Fruit", "n": 2}
        error = problem(caller.post(path, body), 400, POLICY)
        assert "content policy" in error["message"]
    assert caller.footprint() == before


def test_fields_that_are_not_known_are_ignored_and_named(caller: Caller) -> None:
    body = {**BODY, "user": "u1", "style": "vivid", "qualty": "hd", "n": None, "size": None}
    answer = caller.post(LATER, body).json
    assert sorted(answer["warnings"]) == [
        "qualty is not a known field and was not used. Did you mean quality?",
        "style is not a known field and was not used.",
    ]


class TestTasks:
    def test_a_task_is_all_of_its_jobs(self, caller: Caller) -> None:
        response = caller.post(LATER, {**BODY, "n": 2})
        first, second = jobs_of(caller)
        assert response.json == {
            "id": f"task_{first.id.hex}",
            "object": "task",
            "status": "submitted",
            "progress": 0,
            "model": "sdxl",
            "created": int(first.created_at.timestamp()),
        }
        path = f"/v1/tasks/{response.json['id']}"
        expected: dict[str, Any] = response.json | {
            "completed": None,
            "data": [],
            "error": None,
            "served_by": None,
        }
        assert caller.get(path).json == expected
        end(caller, first, "succeed")
        half = caller.get(path).json
        assert half == expected | {"status": "processing", "progress": 50, "served_by": "test"}
        end(caller, second, "fail")
        done = caller.get(path).json
        assert (done["status"], done["progress"], len(done["data"])) == ("completed", 100, 1)
        assert (done["error"], done["usage"]) == (None, {"credits": 2.0})
        assert [one["index"] for one in done["failed"]] == [1]
        assert done["completed"] >= done["created"]
        assert caller.get(f"/v1/jobs/{done['id']}").json == done

    def test_progress_is_that_of_the_models_own_steps(self, caller: Caller) -> None:
        [job] = submitted(caller)
        claim = factories.claimed(caller.services, job.id)
        assert jobs.heartbeat(caller.services.db, job.id, claim.attempt, 30, 3, 12)
        task = caller.get(f"/v1/tasks/task_{job.id.hex}").json
        assert (task["status"], task["progress"]) == ("processing", 25)

    @pytest.mark.parametrize(
        ("how", "status", "code", "word"),
        [
            ("fail", "failed", "engine_failed", "server_error"),
            ("block", "failed", POLICY, POLICY),
            ("cancel", "cancelled", "cancelled", "conflict_error"),
        ],
    )
    def test_a_task_that_made_nothing_says_why(
        self, caller: Caller, how: str, status: str, code: str, word: str
    ) -> None:
        [job] = submitted(caller)
        end(caller, job, how)
        task = caller.get(f"/v1/tasks/task_{job.id.hex}").json
        assert (task["status"], task["data"]) == (status, [])
        assert (task["error"]["code"], task["error"]["type"]) == (code, word)
        assert task["usage"] == {"credits": 0.0}

    def test_only_the_first_jobs_id_is_the_tasks(self, caller: Caller) -> None:
        _, second = submitted(caller, n=2)
        for wire_id in (f"task_{second.id.hex}", str(second.id), second.id.hex, "task_", "7"):
            problem(caller.get(f"/v1/tasks/{wire_id}"), 404, "not_found_error")

    def test_cancelling_cancels_what_has_not_ended(self, caller: Caller) -> None:
        first, second, third = submitted(caller, n=3)
        end(caller, first, "succeed")
        factories.claimed(caller.services, second.id)
        path = f"/v1/jobs/task_{first.id.hex}"
        cancelled = caller.post(f"{path}/cancel", {})
        assert (cancelled.status_code, cancelled.json["status"]) == (200, "completed")
        assert [one["index"] for one in cancelled.json["failed"]] == [1, 2]
        states = [job.state for job in jobs_of(caller)]
        assert states == [JobState.SUCCEEDED, JobState.CANCELLED, JobState.CANCELLED]
        assert caller.post(f"{path}/cancel", {}).json == cancelled.json
        assert third.batch_id == first.id

    def test_what_has_ended_cannot_be_cancelled(self, caller: Caller) -> None:
        [job] = submitted(caller)
        end(caller, job, "succeed")
        response = caller.post(f"/v1/jobs/task_{job.id.hex}/cancel", {})
        assert "already completed" in problem(response, 409, "conflict_error")["message"]


def test_a_customer_of_another_storefront_is_a_stranger_here(shop: Shop) -> None:
    stranger = shop.caller("pixelapi", "scale")
    for path in (WAIT, LATER, "/v1/images/nothing"):
        if path.endswith("nothing"):
            problem(stranger.post(path, BODY), 404, "not_found_error")
        else:
            problem(stranger.post(path, BODY), 401, "authentication_error")


def test_the_model_list_says_where_each_model_is_asked_for(caller: Caller) -> None:
    models = {model["id"]: model for model in caller.get("/v1/models").json["data"]}
    endpoints = {name: model["endpoint"] for name, model in models.items()}
    assert set(endpoints.values()) == set(PATHS.values())
    assert endpoints["gpt-image-2"] == WAIT
    assert endpoints["upscale-4x"] == "/v1/images/edits"
    assert endpoints["wan-i2v"] == "/v1/async/videos/generations"
    assert models["remove-background"]["served_by"] == "grabcut"
    assert "image" in models["remove-background"]["limits"]
