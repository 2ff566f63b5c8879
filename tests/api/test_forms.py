"""Bad forms: a 4xx that says what is wrong and with which field; nothing kept, nothing held."""

from __future__ import annotations

import io
import json

import pytest

from farm.config import Settings
from tests.api.caller import Caller, Part, form_body
from tests.api.pictures import mask, picture

PATH = "/v1/image/remove-object"
URL = "https://example.com/shoe.jpg"
IMAGE: Part = ("image", picture(), "shoe.png")
PROMPT: Part = ("prompt", "the ball")
GOOD = form_body([IMAGE, PROMPT], "x")


def _fields(operation_answer: dict[str, object]) -> list[str]:
    errors = operation_answer["errors"]
    assert isinstance(errors, list)
    return [error["field"] for error in errors]


FORMS: list[tuple[str, list[Part], int, list[str]]] = [
    ("no picture", [PROMPT], 422, ["image"]),
    ("nothing", [], 422, ["image", "mask"]),
    ("file and URL", [IMAGE, ("image_url", URL), PROMPT], 422, ["image", "image_url"]),
    ("two files", [IMAGE, IMAGE, PROMPT], 422, ["image"]),
    ("file and text", [IMAGE, ("image", "again"), PROMPT], 422, ["image"]),
    ("two URLs", [("image_url", URL), ("image_url", URL), PROMPT], 422, ["image_url"]),
    ("two prompts", [IMAGE, PROMPT, PROMPT], 422, ["prompt"]),
    ("text for a file", [("image", "shoe.png"), PROMPT], 422, ["image"]),
    ("URL for a file", [("image", URL), PROMPT], 422, ["image"]),
    ("file for a URL", [("image_url", picture(), "a.png"), PROMPT], 422, ["image_url"]),
    ("file for a text", [IMAGE, ("prompt", b"the ball", "prompt.txt")], 422, ["prompt"]),
    ("empty file", [("image", b"", "shoe.png"), PROMPT], 400, ["image"]),
    ("empty file input", [("image", b"", ""), PROMPT], 422, ["image"]),
    ("neither mask nor prompt", [IMAGE], 422, ["mask"]),
    ("empty prompt", [IMAGE, ("prompt", "")], 422, ["mask"]),
    ("blank prompt", [IMAGE, ("prompt", " \t ")], 422, ["prompt"]),
    ("two masks", [IMAGE, ("mask", mask(), "m.png"), ("mask_url", URL)], 422, ["mask", "mask_url"]),
    ("mask of another size", [IMAGE, ("mask", mask(41), "m.png")], 422, ["mask"]),
    ("mask that is none", [IMAGE, ("mask", b"white", "m.png")], 400, ["mask"]),
    ("long prompt", [IMAGE, ("prompt", "x" * 2001)], 422, ["prompt"]),
    ("very long prompt", [IMAGE, ("prompt", "x" * 8193)], 422, ["prompt"]),
    ("endless prompt", [IMAGE, ("prompt", "x" * 1_000_000)], 422, ["prompt"]),
    ("an inner address", [("image_url", "http://127.0.0.1/a.png"), PROMPT], 422, ["image_url"]),
    ("no address", [("image_url", "shoe.png"), PROMPT], 422, ["image_url"]),
    ("no picture in it", [("image", b"GIF89a" + b"\0" * 40, "a.png"), PROMPT], 400, ["image"]),
    ("all at once", [("image", "a"), ("mask_url", "b"), ("prompt", " ")], 422,
     ["image", "mask_url", "prompt"]),
]  # fmt: skip


def test_a_wrong_field_is_named_and_nothing_happens(caller: Caller) -> None:
    before = caller.footprint()
    for name, parts, status, fields in FORMS:
        response = caller.upload("remove-object", *parts)
        assert response.status_code == status, (name, response.json)
        assert _fields(response.json) == fields, name
        assert all(field in response.json["detail"] for field in fields), name
        assert caller.footprint() == before, name


JSON_BODIES: list[tuple[dict[str, object], list[str]]] = [
    ({}, ["image", "mask"]),
    ({"image_url": None, "prompt": "a"}, ["image"]),
    ({"image_url": 7, "prompt": "a"}, ["image_url"]),
    ({"image_url": [URL], "prompt": "a"}, ["image_url"]),
    ({"image_url": "", "prompt": "a"}, ["image_url"]),
    ({"image_url": "ftp://example.com/a.png", "prompt": "a"}, ["image_url"]),
    ({"image_url": f"{URL}?{'x' * 2048}", "prompt": "a"}, ["image_url"]),
    ({"image_url": URL, "mask_url": "http://localhost/m.png"}, ["mask_url"]),
    ({"image_url": URL, "mask_url": "file:///etc/passwd"}, ["mask_url"]),
    ({"image_url": URL, "image": "aGk=", "prompt": "a"}, ["image"]),
    ({"image_url": URL, "prompt": ["a"]}, ["prompt"]),
    ({"image_url": URL, "prompt": None}, ["mask"]),
]


def test_a_wrong_field_in_json_is_named_too(caller: Caller) -> None:
    before = caller.footprint()
    for body, fields in JSON_BODIES:
        response = caller.edit("remove-object", body)
        assert response.status_code == 422, (body, response.json)
        assert _fields(response.json) == fields, body
        assert caller.footprint() == before, body


NOT_FOUR = ["3", "4.0", "four", "4 ", "+4x", "1e1", "0x4", "4_0", "\u0664", "9" * 400]


def test_a_scale_that_is_not_four_is_named(caller: Caller) -> None:
    for value in NOT_FOUR:
        response = caller.upload("upscale", IMAGE, ("scale", value))
        assert response.status_code == 422, value
        assert _fields(response.json) == ["scale"], value
        message = response.json["errors"][0]["message"]
        assert "must be 4, got" in message or "whole number" in message, message


def test_a_scale_in_json_is_four_or_wrong(caller: Caller) -> None:
    for value in (2, 8, "4", 4.5, True, 10**400):
        data = json.dumps({"image_url": URL, "scale": value}).encode()
        response = caller.post_bytes(data, "application/json", "/v1/image/upscale")
        assert response.status_code == 422, value
        assert _fields(response.json) == ["scale"], value


def _part(head: bytes, data: bytes = b"a") -> bytes:
    return b"--x\r\n" + head + b"\r\n\r\n" + data + b"\r\n--x--\r\n"


_FORM = "multipart/form-data; boundary=x"
BODIES = [
    ("no boundary", GOOD, "multipart/form-data", "no boundary"),
    ("empty boundary", GOOD, "multipart/form-data; boundary=", "no boundary"),
    ("endless boundary", GOOD, "multipart/form-data; boundary=" + "x" * 500, "boundary"),
    ("odd boundary", GOOD, "multipart/form-data; boundary*=utf-8''%C3%A9", "boundary"),
    ("another boundary", GOOD, "multipart/form-data; boundary=y", "not valid"),
    ("cut off in a file", GOOD[:200], _FORM, "not valid"),
    ("cut off in a header", GOOD[:20], _FORM, "not valid"),
    ("cut off at the last boundary", GOOD[:-4], _FORM, "not valid"),
    ("bytes that are no form", bytes(range(256)) * 40, _FORM, "not valid"),
    ("no name", _part(b"Content-Disposition: form-data"), _FORM, "no name"),
    ("empty name", _part(b'Content-Disposition: form-data; name=""'), _FORM, "no name"),
    ("no disposition", _part(b"Content-Type: image/png"), _FORM, "not valid"),
    ("name of no text", _part(b'Content-Disposition: form-data; name="\xff\xfe"'), _FORM, "valid"),
    ("endless header", _part(b"X: " + b"y" * 300_000), _FORM, "too long"),
    ("endless preamble", b"y" * 300_000 + GOOD, _FORM, "no parts"),
    ("endless epilogue", GOOD + b"y" * 300_000, _FORM, "after its last"),
    ("many parts", form_body([("a", "b")] * 10_000, "x"), _FORM, "more than 20 parts"),
    ("many files", form_body([(f"f{n}", b"", "f") for n in range(10_000)], "x"), _FORM, "20 parts"),
    ("mixed inside", GOOD, "multipart/mixed; boundary=x", "multipart/form-data"),
    ("url-encoded", b"image_url=a", "application/x-www-form-urlencoded", "multipart/form-data"),
    ("the file itself", picture(), "image/png", "multipart/form-data"),
    ("no type", GOOD, None, "missing"),
]  # fmt: skip


def test_a_form_that_cannot_be_read_is_refused(caller: Caller) -> None:
    before = caller.footprint()
    for name, data, kind, word in BODIES:
        response = caller.post_bytes(data, kind, PATH)
        assert response.status_code == 400, (name, response.json)
        assert word in response.json["detail"], name
        assert _fields(response.json) == ["body"], name
        assert caller.footprint() == before, name


def test_no_body_at_all_is_refused(caller: Caller) -> None:
    headers = {**caller.headers, "Content-Length": "0"}
    stream = io.BytesIO()
    response = caller.app.test_client().post(
        PATH, input_stream=stream, content_type=_FORM, headers=headers
    )
    assert response.status_code == 400
    assert "no body" in response.json["detail"]


def test_twenty_parts_are_taken(caller: Caller) -> None:
    parts: list[Part] = [IMAGE, PROMPT, *((f"more{n}", "x") for n in range(18))]
    assert caller.upload("remove-object", *parts).status_code == 200


@pytest.mark.parametrize("name", ["image", "mask"])
@pytest.mark.parametrize("extra", [0, 1])
def test_a_file_is_bounded_to_the_byte(caller: Caller, name: str, extra: int) -> None:
    before = caller.footprint()
    data = b"\x89PNG\r\n\x1a\n" + bytes(10 * 1024 * 1024 - 8 + extra)
    parts: list[Part] = [(name, data, "big.png")]
    if name == "mask":
        parts.append(IMAGE)
    response = caller.upload("remove-object", *parts, PROMPT)
    assert response.status_code == (413 if extra else 400)
    assert _fields(response.json) == [name]
    assert caller.footprint() == before


def test_a_file_that_nobody_wants_is_not_kept_and_not_too_large(caller: Caller) -> None:
    stranger: Part = ("raw", bytes(11 * 1024 * 1024), "shoe.cr2")
    response = caller.upload("remove-object", IMAGE, PROMPT, stranger)
    assert response.status_code == 200
    assert response.json["warnings"] == ["raw is not a known field and was not used."]
    assert caller.footprint()["files"] == 1


@pytest.mark.parametrize("extra", [0, 1])
def test_a_chunked_form_is_bounded_to_the_byte(
    caller: Caller, settings: Settings, extra: int
) -> None:
    filler = settings.body_bytes_max - len(form_body([IMAGE, PROMPT, ("more", "")], "x"))
    body = form_body([IMAGE, PROMPT, ("more", "x" * (filler + extra))], "x")
    response = caller.app.test_client().post(
        PATH,
        input_stream=io.BytesIO(body),
        headers=caller.headers | {"Transfer-Encoding": "chunked"},
        content_type=_FORM,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == (413 if extra else 200), response.json


def test_a_form_shorter_than_announced_is_refused(caller: Caller) -> None:
    before = caller.footprint()
    response = caller.app.test_client().post(
        PATH,
        input_stream=io.BytesIO(GOOD),
        headers=caller.headers,
        content_type=_FORM,
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "5000"},
    )
    assert response.status_code == 400
    assert "of 5,000 bytes" in response.json["detail"]
    assert caller.footprint() == before


def test_a_refused_upload_is_read_to_its_end(caller: Caller) -> None:
    body = io.BytesIO(form_body([IMAGE] * 21 + [("more", "x" * 5_000_000)], "x"))
    response = caller.app.test_client().post(
        PATH,
        input_stream=body,
        headers=caller.headers,
        content_type=_FORM,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == 400
    assert body.read() == b""


def test_a_prompt_is_utf_8(caller: Caller) -> None:
    for text in ("a\u0301\U0001f600", "\u4e2d\u6587", "x" * 2000, "\U0001f600" * 2000):
        answer = caller.upload("remove-object", IMAGE, ("prompt", text)).json
        usage = caller.get("/v1/account/usage").json["usage"]
        assert usage[0]["id"] == answer["generation_id"]
        assert usage[0]["prompt"] == text


def test_a_prompt_that_is_no_text_is_named(caller: Caller) -> None:
    for data in (b"\xff\xfe", b"a\x00b", b"\xed\xa0\x80"):
        body = form_body([IMAGE, ("prompt", "HERE")], "x").replace(b"HERE", data)
        response = caller.post_bytes(body, _FORM, PATH)
        assert response.status_code == 422
        assert _fields(response.json) == ["prompt"]
