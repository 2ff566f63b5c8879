"""Try-on: two pictures as text, errors as objects, and a picture as text."""

from __future__ import annotations

import base64
import io
import json
import textwrap
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from api.runtime import Runtime
from farm import settle
from farm.types import Artifact
from tests import factories
from tests.api.caller import Caller
from tests.api.garments import TRYON, encoded, tryon_body
from tests.api.pictures import picture

TINY = encoded(picture(width=99, height=400))
LANDSCAPE = encoded(picture(width=161, height=160))
NO_PICTURE = encoded(b"There is no picture in here, only words.")
BIG = encoded(b"\x89PNG\r\n\x1a\n" + bytes(10 * 2**20))


def test_a_documented_body_becomes_a_job(caller: Caller) -> None:
    before = caller.footprint()
    response = caller.post(TRYON, tryon_body())
    assert response.status_code == 200, response.json
    job_id = response.json["job_id"]
    assert response.json == {"job_id": job_id, "status": "queued", "credits_used": 25.0}
    after = caller.footprint()
    assert (after["held"] - before["held"], after["inputs"], after["files"]) == (250, 2, 2)
    with caller.services.db.statement() as connection:
        query = text("SELECT name, width, height FROM inputs WHERE job_id = :id ORDER BY name")
        rows = connection.execute(query, {"id": job_id}).all()
    assert [tuple(row) for row in rows] == [("garment_image", 90, 80), ("person_image", 120, 160)]
    assert caller.get(f"{TRYON}/jobs/{job_id}").json == {
        "job_id": job_id,
        "status": "queued",
        "result_image_b64": None,
        "inference_time_ms": None,
        "error_message": None,
        "credits_used": 25.0,
    }
    assert caller.get(f"/v1/image/{job_id}").json["operation"] == "try-on"


@pytest.mark.parametrize(
    "person",
    [
        f"data:image/png;base64,{encoded(picture(width=100, height=100))}",
        "DATA:,\r\n" + "\r\n".join(textwrap.wrap(encoded(picture(width=100, height=100)), 76)),
        f"\n  {encoded(picture(width=100, height=100))}\t ",
    ],
    ids=["data-url", "lines", "spaces"],
)
def test_base64_may_be_dressed(caller: Caller, person: str) -> None:
    body = tryon_body(person_image=person, category="dress")
    assert caller.post(TRYON, body).status_code == 200


def test_the_same_pictures_are_the_same_request(caller: Caller) -> None:
    first = caller.post(TRYON, tryon_body(), Idempotency_Key="one")
    lines = "\n".join(textwrap.wrap(tryon_body()["person_image"], 60))
    again = caller.post(TRYON, tryon_body(person_image=lines), Idempotency_Key="one")
    assert again.json == first.json
    assert again.headers["Idempotency-Replayed"] == "true"
    other = caller.post(TRYON, tryon_body(category="dress"), Idempotency_Key="one")
    assert other.status_code == 422
    assert isinstance(other.json["detail"], str)
    assert caller.footprint()["files"] == 2


@pytest.mark.parametrize(
    ("changes", "status", "code", "words", "size"),
    [
        ({"person_image": TINY}, 422, "image_too_small", "person_image", "99x400"),
        ({"person_image": LANDSCAPE}, 422, "wrong_aspect_ratio", "wider than tall", "161x160"),
        ({"person_image": "no base64!"}, 400, "invalid_image", "person_image: is not base64", None),
        ({"garment_image": "bm8"}, 400, "invalid_image", "garment_image: is not base64", None),
        ({"garment_image": "ünïcode"}, 400, "invalid_image", "garment_image", None),
        ({"garment_image": ""}, 400, "invalid_image", "empty", None),
        ({"garment_image": NO_PICTURE}, 400, "invalid_image", "garment_image", None),
        ({"person_image": NO_PICTURE}, 400, "invalid_image", "JPEG, a PNG or a WebP", None),
        ({"category": "hat"}, 422, "invalid_category", "upperbody, lowerbody, dress", None),
        ({"category": 7}, 422, "invalid_category", "upperbody, lowerbody, dress", None),
        ({"category": None}, 422, "invalid_category", "is required", None),
        ({"person_image": None}, 422, "invalid_request", "person_image: is required", None),
        ({"garment_image": ["a"]}, 422, "invalid_request", "must be base64 text, not a list", None),
        ({"seed": -1}, 422, "invalid_request", "seed", None),
        ({"webhook_url": "http://a.example/"}, 422, "invalid_request", "webhook_url", None),
        ({"garment_image": BIG}, 413, "too_large", "garment_image", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_an_object_and_nothing_happens(
    caller: Caller, changes: dict[str, Any], status: int, code: str, words: str, size: str | None
) -> None:
    before = caller.footprint()
    response = caller.post(TRYON, tryon_body(**changes))
    assert response.status_code == status, response.text[:500]
    detail = response.json["detail"]
    assert detail["error"] == code
    assert words in detail["message"]
    assert detail["guidance"]
    assert detail.get("received_size") == size
    assert ("300x400" in detail["guidance"]) == (code == "image_too_small")
    assert caller.footprint() == before


@pytest.mark.parametrize(
    ("data", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed"),
        (b"[]", "application/json", 400, "malformed"),
        (b"", "application/json", 400, "malformed"),
        (b"a=b", "application/x-www-form-urlencoded", 400, "malformed"),
        (b'{"category": "dress", "category": "dress"}', "application/json", 422, "invalid_request"),
        (b'{"person_image": "' + b"A" * 40_000_000 + b'"}', "application/json", 413, "too_large"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_unreadable_body_is_an_object_too(
    caller: Caller, data: bytes, content_type: str, status: int, code: str
) -> None:
    before = caller.footprint()
    response = caller.post_bytes(data, content_type, TRYON)
    assert response.status_code == status
    assert response.json["detail"]["error"] == code
    assert caller.footprint() == before


def test_two_pictures_of_ten_megabytes_fit(caller: Caller) -> None:
    """Both are read as far as their content, of which there is none."""
    almost = encoded(b"\x89PNG\r\n\x1a\n" + bytes(10 * 2**20 - 8))
    response = caller.post(TRYON, tryon_body(person_image=almost, garment_image=almost))
    assert response.status_code == 400
    assert response.json["detail"]["error"] == "invalid_image"
    assert (
        caller.post_bytes(json.dumps({"prompt": almost}).encode(), "application/json").status_code
        == 413
    )


def test_what_is_not_about_the_body_is_a_sentence(caller: Caller, free_caller: Caller) -> None:
    stranger = caller.app.test_client().post(TRYON, json=tryon_body())
    assert stranger.status_code == 401
    poor = free_caller.post(TRYON, tryon_body())
    assert poor.status_code == 402
    missing = caller.get(f"{TRYON}/jobs/00000000-0000-4000-8000-000000000000")
    assert missing.status_code == 404
    for response in (stranger, poor, missing):
        assert isinstance(response.json["detail"], str)
    assert free_caller.footprint()["files"] == 0


def test_the_result_is_in_the_status(runtime: Runtime, caller: Caller) -> None:
    services = runtime.services
    job_id = caller.post(TRYON, tryon_body()).json["job_id"]
    claim = factories.claimed(services, job_id)
    png = picture(width=120, height=160)
    output = services.storage.put(
        claim.job_id, claim.attempt, Artifact(png, "image/png", "images", "png")
    )
    settle.succeed(
        services.db, claim, output, facts={}, served_by="test", processing_ms=900, ttl_s=60.0
    )
    done = caller.get(f"{TRYON}/jobs/{job_id}").json
    result = base64.b64decode(done.pop("result_image_b64"), validate=True)
    assert Image.open(io.BytesIO(result)).size == (120, 160)
    assert done == {
        "job_id": job_id,
        "status": "completed",
        "inference_time_ms": 900,
        "error_message": None,
        "credits_used": 25.0,
    }
    with services.db.statement() as connection:
        connection.execute(text("UPDATE jobs SET output_expires_at = now()"))
    late = caller.get(f"{TRYON}/jobs/{job_id}").json
    assert (late["status"], late["result_image_b64"]) == ("completed", None)


@pytest.mark.parametrize("code", ["body_segmentation_failed", "gpu_out_of_memory"])
def test_a_failure_says_its_code(runtime: Runtime, caller: Caller, code: str) -> None:
    services = runtime.services
    job_id = caller.post(TRYON, tryon_body()).json["job_id"]
    factories.fail(services, factories.claimed(services, job_id), code=code)
    failed = caller.get(f"{TRYON}/jobs/{job_id}").json
    assert (failed["status"], failed["error"]) == ("failed", code)
    assert failed["error_message"] == "It broke."
    assert failed["credits_used"] == 0.0
