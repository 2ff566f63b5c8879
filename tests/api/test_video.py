"""Video: from a documented body to a queued job, and back in its own shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from api.runtime import Runtime
from tests import factories
from tests.api.caller import Caller

pytestmark = pytest.mark.usefixtures("own_app")

VIDEO = "/v1/video/generate"
PROMPT = "waves that roll onto a beach"
COG = {"prompt": PROMPT, "model": "cogvideo-2b"}


@pytest.mark.parametrize(
    ("body", "model", "credits", "estimate", "params"),
    [
        ({"prompt": PROMPT}, "wan2.1", 50.0, 90.0,
         {"duration": 3.0, "resolution": "480p", "negative_prompt": ""}),
        ({"prompt": "x" * 2000, "model": "wan2.1", "resolution": "720p", "duration": 10,
          "negative_prompt": "blur", "seed": 4}, "wan2.1", 100.0, 90.0,
         {"duration": 10.0, "resolution": "720p", "negative_prompt": "blur", "seed": 4}),
        ({"prompt": "a", "duration": 1}, "wan2.1", 50.0, 90.0, {"duration": 1.0}),
        (COG, "cogvideo-2b", 25.0, 210.0, {"num_frames": 49, "steps": 50, "resolution": "480p"}),
        ({**COG, "num_frames": 9, "steps": 10}, "cogvideo-2b", 25.0, 210.0,
         {"num_frames": 9, "steps": 10}),
    ],
)  # fmt: skip
def test_a_documented_body_becomes_a_job(
    caller: Caller,
    body: dict[str, Any],
    model: str,
    credits: float,
    estimate: float,
    params: dict[str, Any],
) -> None:
    before = caller.footprint()
    answer = caller.post(VIDEO, body).json
    generation_id = answer.pop("generation_id")
    assert answer == {
        "status": "queued",
        "model": model,
        "credits_used": credits,
        "estimated_seconds": estimate,
    }
    assert caller.footprint()["held"] - before["held"] == credits * 10
    with caller.services.db.statement() as connection:
        query = text("SELECT params FROM jobs WHERE id = :id")
        written = connection.execute(query, {"id": generation_id}).scalar_one()
    assert written.items() >= params.items()
    status = caller.get(f"/v1/image/{generation_id}").json
    assert (status["model"], status["status"]) == (model, "queued")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("resolution", "1080p", "one of 480p, 720p"),
        ("duration", 0.5, "from 1 to 10, got 0.5"),
        ("duration", 11, "from 1 to 10, got 11"),
        ("duration", "3", "must be a number"),
        ("negative_prompt", "x" * 2001, "at most 2000"),
        ("prompt", "x" * 2001, "at most 2000"),
        ("prompt", " ", "must not be empty"),
        ("model", "sdxl", "Choose one of wan2.1, cogvideo-2b"),
        ("webhook_url", "https://localhost/told", "public"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_and_nothing_happens(
    caller: Caller, field: str, value: object, words: str
) -> None:
    before = caller.footprint()
    body = {"prompt": PROMPT, field: value}
    response = caller.post_bytes(json.dumps(body).encode(), "application/json", VIDEO)
    assert response.status_code == 422
    (error,) = response.json["errors"]
    assert error["field"] == field
    assert words in error["message"]
    assert caller.footprint() == before


def test_a_field_that_the_model_does_not_use_is_named(caller: Caller) -> None:
    answer = caller.post(VIDEO, {**COG, "duration": 3}).json
    assert answer["warnings"] == ["duration is not used by cogvideo-2b."]
    assert caller.post(VIDEO, {**COG, "duration": 0.5}).status_code == 422
    assert caller.post(VIDEO, {**COG, "resolution": "720p"}).status_code == 422


def test_the_status_has_its_own_shape(runtime: Runtime, caller: Caller) -> None:
    services = runtime.services
    generation_id = caller.post(VIDEO, {"prompt": PROMPT}).json["generation_id"]
    waiting = {
        "generation_id": generation_id,
        "id": generation_id,
        "status": "queued",
        "output_url": None,
        "processing_ms": None,
        "error_message": None,
    }
    path = f"/v1/video/{generation_id}"
    assert caller.get(path).json == waiting
    old = caller.get(path, User_Agent="pixelapi-python/0.2.0").json
    assert old == waiting | {"status": "pending"}
    claim = factories.claimed(services, generation_id)
    assert factories.succeed(services, claim)
    done = caller.get(path).json
    assert (done["status"], done["processing_ms"]) == ("completed", 12)
    assert "/outputs/" in done["output_url"]

    failed = caller.post(VIDEO, {"prompt": PROMPT}).json["generation_id"]
    factories.fail(services, factories.claimed(services, failed))
    assert caller.get(f"/v1/video/{failed}").json["error_message"] == "It broke."
    assert caller.get("/v1/video/00000000-0000-4000-8000-000000000000").status_code == 404
