"""Audio: from a documented body to a queued job, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.runtime import Runtime
from farm.submit import submit
from farm.types import JobRequest
from tests import factories
from tests.api.caller import Caller
from tests.api.pictures import picture

AUDIO = "/v1/audio/generate"
PROMPT = "a calm piano over soft rain"


@pytest.mark.parametrize(
    ("body", "duration", "credits"),
    [
        ({"prompt": PROMPT}, 15, 5.0),
        ({"prompt": "abc", "duration": 5, "model": "musicgen-small"}, 5, 5.0),
        ({"prompt": "x" * 500, "duration": 16, "model": "musicgen"}, 16, 10.0),
        ({"prompt": PROMPT, "duration": 30, "seed": 4}, 30, 10.0),
    ],
)
def test_a_documented_body_becomes_a_job(
    caller: Caller, body: dict[str, Any], duration: int, credits: float
) -> None:
    before = caller.footprint()
    response = caller.post(AUDIO, body)
    assert response.status_code == 200, response.json
    answer = response.json
    generation_id = answer.pop("generation_id")
    assert answer == {
        "status": "queued",
        "model": "musicgen-small",
        "duration": duration,
        "credits_used": credits,
        "estimated_seconds": 30.0,
    }
    assert caller.footprint()["held"] - before["held"] == credits * 10
    status = caller.get(f"/v1/audio/{generation_id}").json
    assert (status["model"], status["status"]) == ("musicgen-small", "queued")
    assert "operation" not in status
    assert caller.get(f"/v1/image/{generation_id}").json["id"] == status["id"] == generation_id


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("duration", 4, "from 5 to 30, got 4"),
        ("duration", 31, "from 5 to 30, got 31"),
        ("duration", 15.5, "whole number"),
        ("duration", "ten", "whole number"),
        ("duration", -1, "from 5 to 30"),
        ("duration", float("nan"), "finite"),
        ("prompt", "x" * 501, "at most 500 characters, got 501"),
        ("prompt", "ab", "at least 3 characters, got 2"),
        ("prompt", " ab ", "at least 3 characters, got 2"),
        ("prompt", None, "is required"),
        ("model", "wan2.1", "not a model here. Choose one of musicgen-small"),
        ("webhook_url", "http://example.com/told", "https"),
        ("webhook_url", 7, "must be text"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_and_nothing_happens(
    caller: Caller, field: str, value: object, words: str
) -> None:
    before = caller.footprint()
    body = {"prompt": PROMPT, field: value}
    response = caller.post_bytes(json.dumps(body).encode(), "application/json", AUDIO)
    assert response.status_code == 422
    (error,) = response.json["errors"]
    assert error["field"] == field
    assert words in error["message"]
    assert caller.footprint() == before


def test_all_that_is_wrong_is_said_at_once(caller: Caller) -> None:
    response = caller.post(AUDIO, {"prompt": "a", "duration": 1, "webhook_url": "ftp://x"})
    fields = [error["field"] for error in response.json["errors"]]
    assert fields == ["prompt", "duration", "webhook_url"]


def test_unknown_fields_are_warned_about(caller: Caller) -> None:
    answer = caller.post(AUDIO, {"prompt": PROMPT, "durations": 5}).json
    assert answer["warnings"] == [
        "durations is not a known field and was not used. Did you mean duration?"
    ]
    assert answer["duration"] == 15


@pytest.mark.usefixtures("own_app")
def test_the_estimate_is_what_was_measured(runtime: Runtime, caller: Caller) -> None:
    services = runtime.services
    earlier = submit(
        services, caller.customer.principal, JobRequest("musicgen-small", "audio", {"duration": 5})
    )
    factories.succeed(services, factories.claimed(services, earlier.job_id))
    assert caller.post(AUDIO, {"prompt": PROMPT}).json["estimated_seconds"] == 0.012
    done = caller.get(f"/v1/audio/{earlier.job_id}").json
    assert (done["status"], done["credits_used"]) == ("completed", 5.0)


def test_other_kinds_are_a_404_that_says_so(caller: Caller) -> None:
    image = caller.generate({"prompt": "a"}).json["generation_id"]
    audio = caller.post(AUDIO, {"prompt": PROMPT}).json["generation_id"]
    for path, noun in (
        (f"/v1/audio/{image}", "an image, not audio"),
        (f"/v1/video/{audio}", "audio, not a video"),
        (f"/v1/virtual-tryon/jobs/{audio}", "audio, not a try-on"),
    ):
        response = caller.get(path)
        assert response.status_code == 404
        assert noun in response.json["detail"]


def test_a_plan_without_webhooks_is_told(free_caller: Caller, caller: Caller) -> None:
    body = {"prompt": PROMPT, "webhook_url": "https://example.com/told"}
    before = free_caller.footprint()
    assert free_caller.post(AUDIO, body).status_code == 403
    assert free_caller.footprint() == before
    assert caller.post(AUDIO, body).status_code == 200
    for operation in ("generate", "upscale"):
        more = {"prompt": "a", "image_url": "https://example.com/a.png"} | body
        answer = caller.post(f"/v1/image/{operation}", more)
        assert answer.status_code == 200
        more["webhook_url"] = "https://10.0.0.1/told"
        wrong = caller.post(f"/v1/image/{operation}", more)
        assert wrong.status_code == 422
        assert [e["field"] for e in wrong.json["errors"]] == ["webhook_url"]


def test_a_form_may_name_who_is_told(caller: Caller, free_caller: Caller) -> None:
    shoe = ("image", picture(), "a.png")
    told = ("webhook_url", "https://example.com/told")
    assert caller.upload("upscale", shoe, told).status_code == 200
    assert caller.upload("upscale", shoe, ("webhook_url", "")).status_code == 200
    assert free_caller.upload("remove-background", shoe, told).status_code == 403
    wrong = caller.upload("upscale", shoe, ("webhook_url", "http://example.com"))
    assert wrong.status_code == 422
    assert wrong.json["errors"][0]["field"] == "webhook_url"
