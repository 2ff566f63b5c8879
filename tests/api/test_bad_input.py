"""Bad input: a 4xx that names the field, nothing written, nothing held."""

from __future__ import annotations

import io
import json

import pytest

from farm.config import Settings
from tests.api.caller import GENERATE, Caller

GOOD = {"prompt": "a lighthouse at dusk", "model": "sdxl"}

WRONG_FIELDS = [
    ("prompt", None),
    ("prompt", ""),
    ("prompt", "   \n\t "),
    ("prompt", "x" * 2001),
    ("prompt", 7),
    ("prompt", ["a"]),
    ("prompt", {"text": "a"}),
    ("prompt", True),
    ("prompt", "a\x00b"),
    ("prompt", "\ud800"),
    ("negative_prompt", "x" * 2001),
    ("negative_prompt", 3),
    ("model", "stable-diffusion-9"),
    ("model", ""),
    ("model", 1),
    ("model", ["sdxl"]),
    ("width", 511),
    ("width", 1537),
    ("width", 1024.5),
    ("width", "1024"),
    ("width", True),
    ("width", 10**400),
    ("height", -1),
    ("height", [512]),
    ("steps", 19),
    ("steps", 51),
    ("steps", 30.0),
    ("guidance_scale", -0.1),
    ("guidance_scale", 20.1),
    ("guidance_scale", "7"),
    ("guidance_scale", float("nan")),
    ("guidance_scale", float("inf")),
    ("seed", -1),
    ("seed", 2**32),
    ("seed", 1.5),
    ("seed", float("-inf")),
]


@pytest.mark.parametrize(("field", "value"), WRONG_FIELDS, ids=str)
def test_a_wrong_field_is_named_and_nothing_happens(
    caller: Caller, field: str, value: object
) -> None:
    before = caller.footprint()
    response = caller.post_bytes(
        json.dumps(GOOD | {field: value}).encode(), content_type="application/json"
    )
    assert response.status_code == 422
    assert [error["field"] for error in response.json["errors"]] == [field]
    assert field in response.json["detail"]
    assert caller.footprint() == before


@pytest.mark.parametrize(
    ("data", "content_type", "status", "word"),
    [
        (b"", "application/json", 400, "no body"),
        (b"{", "application/json", 400, "not valid JSON"),
        (b"prompt=a", "application/json", 400, "not valid JSON"),
        (b"[]", "application/json", 400, "object"),
        (b'"a"', "application/json", 400, "object"),
        (b"null", "application/json", 400, "object"),
        (b'{"prompt": "\xff\xfe"}', "application/json", 400, "UTF-8"),
        (b"[" * 100_000, "application/json", 400, "nested"),
        (b'{"seed": ' + b"1" * 5000 + b"}", "application/json", 400, "digits"),
        (b'{"prompt": "a"}', "text/plain", 400, "Content-Type"),
        (b'{"prompt": "a"}', "application/x-www-form-urlencoded", 400, "Content-Type"),
        (b"--x--", "multipart/form-data; boundary=x", 400, "Content-Type"),
        (b'{"prompt": "a"}', None, 400, "Content-Type"),
        (b'{"prompt": "' + b"x" * 10_000_000 + b'"}', "application/json", 422, "2000 characters"),
        (b'{"prompt": "' + b"x" * 12_600_000 + b'"}', "application/json", 413, "over the limit"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_an_unreadable_body_is_refused_and_nothing_happens(
    caller: Caller, data: bytes, content_type: str | None, status: int, word: str
) -> None:
    before = caller.footprint()
    response = caller.post_bytes(data, content_type)
    assert response.status_code == status
    assert word in response.json["detail"]
    assert response.json["errors"][0]["field"] in ("body", "prompt")
    assert caller.footprint() == before


@pytest.mark.parametrize("extra", [0, 1])
def test_a_chunked_body_is_bounded_to_the_byte(
    caller: Caller, settings: Settings, extra: int
) -> None:
    body = json.dumps(GOOD).encode()
    body += b" " * (settings.body_bytes_max - len(body) + extra)
    response = caller.app.test_client().post(
        GENERATE,
        input_stream=io.BytesIO(body),
        headers=caller.headers | {"Transfer-Encoding": "chunked"},
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == (413 if extra else 200)


def test_a_body_that_was_cut_off_is_refused(caller: Caller) -> None:
    before = caller.footprint()
    response = caller.app.test_client().post(
        GENERATE,
        input_stream=io.BytesIO(json.dumps(GOOD).encode()),
        headers=caller.headers,
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "500"},
    )
    assert response.status_code == 400
    assert "of 500 bytes" in response.json["detail"]
    assert caller.footprint() == before


def test_a_field_that_appears_twice_is_refused(caller: Caller) -> None:
    response = caller.post_bytes(b'{"prompt": "a", "prompt": "b"}', "application/json")
    assert response.status_code == 422
    assert response.json["errors"] == [{"field": "prompt", "message": "appears more than once."}]


def test_every_wrong_field_is_named_at_once(caller: Caller) -> None:
    response = caller.generate({"model": "sdxl", "prompt": "", "width": 1, "steps": "many"})
    named = {error["field"] for error in response.json["errors"]}
    assert named == {"prompt", "width", "steps"}


def test_an_unknown_model_is_answered_with_those_sold(caller: Caller) -> None:
    detail = caller.generate({"prompt": "a", "model": "dall-e"}).json["detail"]
    assert "flux-schnell" in detail
    assert "sdxl" in detail


def test_unknown_fields_are_warned_about_and_not_refused(caller: Caller) -> None:
    response = caller.generate(GOOD | {"sed": 4, "style": {"a": [1, {"b": 2}]}, "user": None})
    assert response.status_code == 200
    warnings = response.json["warnings"]
    assert any("sed is not a known field" in line and "Did you mean seed?" in line
               for line in warnings)  # fmt: skip
    assert any("style" in line for line in warnings)


def test_what_a_model_does_not_use_is_warned_about(caller: Caller) -> None:
    response = caller.generate({"prompt": "a", "model": "flux-schnell", "negative_prompt": "blur"})
    assert response.status_code == 200
    assert response.json["warnings"] == ["negative_prompt is not used by flux-schnell."]


def test_a_body_of_many_unknown_fields_gets_few_warnings(caller: Caller) -> None:
    strangers = {f"field\u0000{number}": number for number in range(50_000)}
    response = caller.generate(GOOD | strangers)
    assert response.status_code == 200
    warnings = response.json["warnings"]
    assert len(warnings) == 21
    assert warnings[-1].startswith("49980 more")
    status = caller.get(f"/v1/image/{response.json['generation_id']}")
    assert status.json["warnings"] == warnings


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_is_json_however_it_is_labelled(caller: Caller, content_type: str) -> None:
    assert caller.post_bytes(json.dumps(GOOD).encode(), content_type).status_code == 200


@pytest.mark.parametrize("length", [1, 2000])
def test_prompts_at_the_bounds_are_taken(caller: Caller, length: int) -> None:
    assert caller.generate({"prompt": "ä" * length}).status_code == 200
