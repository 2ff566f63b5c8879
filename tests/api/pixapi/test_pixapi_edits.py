"""``/v1/images/edits`` and films: pictures as files, URLs and data URLs, masks, several of them."""

from __future__ import annotations

import base64
import io
import json
import uuid
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text
from werkzeug.test import TestResponse

from farm import inputs
from farm.types import JobState
from farm.views import JobView
from tests import factories
from tests.api.caller import Caller, Part, form_body
from tests.api.pictures import picture
from tests.api.pixapi.work import answered, jobs_of, problem, standing
from tests.contracts.storefront import Shop

WAIT, LATER, FILMS = "/v1/images/edits", "/v1/async/images/edits", "/v1/async/videos/generations"
INVALID = "invalid_request_error"
URL = "https://example.com/a.png"
BODY = {"model": "flux-kontext", "prompt": "make it blue", "image": URL}
TEXTS = (("model", "flux-kontext"), ("prompt", "make it blue"))
FILE = ("image", picture(), "a.png")


def cut(width: int = 40, height: int = 30) -> bytes:
    """A picture whose left half is transparent."""
    image = Image.new("RGBA", (width, height), "white")
    image.paste((255, 255, 255, 0), (0, 0, width // 2, height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    """The file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def caller(shop: Shop) -> Caller:
    """A customer who affords everything."""
    return shop.caller("pixapi", "business")


def sent(caller: Caller, *parts: Part, path: str = LATER, **headers: str) -> TestResponse:
    """POST a form."""
    boundary = uuid.uuid4().hex
    return caller.app.test_client().post(
        path,
        data=form_body(parts, boundary),
        content_type=f"multipart/form-data; boundary={boundary}",
        headers=caller.headers | headers,
    )


def last(caller: Caller, response: TestResponse) -> JobView:
    """The newest job of an accepted request."""
    assert response.status_code == 200, response.text
    return jobs_of(caller)[-1]


def inputs_of(caller: Caller, job: JobView) -> dict[str, Image.Image]:
    """The pictures that an engine would get."""
    request = inputs.run_request(
        caller.services.storage, factories.claimed(caller.services, job.id)
    )
    return {name: Image.open(io.BytesIO(data)) for name, data in request.inputs.items()}


def urls_of(caller: Caller, job: JobView) -> dict[str, tuple[str, bool]]:
    """The URLs of the pictures that are to be fetched, and whether each is a cut mask."""
    with caller.services.db.statement() as connection:
        rows = connection.execute(
            text("SELECT name, url, cut_out FROM inputs WHERE job_id = :id"), {"id": job.id}
        )
        return {row.name: (row.url, row.cut_out) for row in rows}


def test_the_answer_comes_with_the_edited_picture(caller: Caller) -> None:
    before = standing(caller)
    response = answered(caller, lambda: sent(caller, *TEXTS, FILE, path=WAIT))
    assert response.status_code == 200, response.text
    assert [set(one) for one in response.json["data"]] == [{"url"}]
    assert response.json["usage"] == {"credits": 4.0}
    assert standing(caller) == (before[0] - 40, 0)
    form = (*TEXTS, FILE, ("n", "2"), ("response_format", "b64_json"))
    answer = answered(caller, lambda: sent(caller, *form, path=WAIT), ["succeed"] * 2).json
    assert [base64.b64decode(one["b64_json"]) for one in answer["data"]] == [b"picture"] * 2


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_several_files_are_several_pictures_in_their_order(caller: Caller, name: str) -> None:
    files = [(name, picture(width=40 + n), f"{n}.png") for n in range(3)]
    job = last(caller, sent(caller, *TEXTS, *files))
    sizes = {name: image.width for name, image in inputs_of(caller, job).items()}
    assert sizes == {"image": 40, "image_2": 41, "image_3": 42}
    assert job.operation == "edit"
    assert "width" not in job.params


def test_a_url_a_data_url_or_a_list_of_them(caller: Caller) -> None:
    job = last(caller, caller.post(LATER, BODY))
    assert urls_of(caller, job) == {"image": (URL, False)}
    mixed = [URL, data_url(picture()), "https://example.com/b.png"]
    job = last(caller, caller.post(LATER, {**BODY, "image": mixed}))
    assert urls_of(caller, job) == {
        "image": (URL, False),
        "image_2": (None, False),
        "image_3": ("https://example.com/b.png", False),
    }
    for written in (
        data_url(picture("JPEG"), "image/jpeg"),
        data_url(picture(), "image/jpeg;charset=utf-8"),
        data_url(picture()).replace("data:image/png;", "DATA:;").rstrip("="),
        data_url(picture())[:100] + "\n " + data_url(picture())[100:],
    ):
        job = last(caller, caller.post(LATER, {**BODY, "image": written}))
        assert inputs_of(caller, job)["image"].size == (40, 30)
    job = last(caller, sent(caller, *TEXTS, ("image", URL), FILE))
    assert urls_of(caller, job) == {"image": (URL, False), "image_2": (None, False)}


def test_a_mask_is_transparent_where_the_image_is_edited(caller: Caller) -> None:
    responses = (
        lambda: sent(caller, *TEXTS, FILE, ("mask", cut(), "m.png")),
        lambda: caller.post(LATER, {**BODY, "image": data_url(picture()), "mask": data_url(cut())}),
        lambda: caller.post(
            LATER,
            {"model": "remove-object", "image": data_url(picture()), "mask": data_url(cut())},
        ),
    )
    for send in responses:
        mask = inputs_of(caller, last(caller, send()))["mask"]
        assert (mask.mode, mask.getpixel((0, 0)), mask.getpixel((39, 29))) == ("L", 255, 0)
    job = last(caller, caller.post(LATER, {**BODY, "mask": "https://example.com/m.png"}))
    assert urls_of(caller, job)["mask"] == ("https://example.com/m.png", True)
    job = last(caller, sent(caller, *TEXTS, FILE, ("mask", "https://example.com/m.png")))
    assert urls_of(caller, job)["mask"] == ("https://example.com/m.png", True)


def test_a_form_has_numbers_as_text(caller: Caller) -> None:
    more = (("n", "2"), ("seed", "5"), ("size", "512x256"), ("quality", "hd"), ("user", "u"))
    job = last(caller, sent(caller, *TEXTS, FILE, *more))
    assert (job.batch_size, job.params["seed"], job.params["steps"]) == (2, 6, 50)
    assert (job.params["width"], job.params["height"], job.price_tenths) == (512, 256, 80)
    for name, value in (("n", "two"), ("n", "5"), ("seed", "-1"), ("seed", "1e3"), ("n", "٢")):
        error = problem(sent(caller, *TEXTS, FILE, (name, value)), 400, INVALID)
        assert error["param"] == name


@pytest.mark.parametrize(
    ("model", "operation", "credits"),
    [
        ("remove-background", "remove-background", 2),
        ("replace-background", "replace-background", 5),
        ("restore-face", "restore-face", 3),
        ("remove-object", "remove-object", 5),
        ("real-esrgan", "upscale", 20),
        ("flux-schnell", "edit", 2),
        ("flux-2", "edit", 3),
        ("nano-banana", "edit", 8),
    ],
)
def test_every_model_that_changes_pictures_is_sold_here(
    caller: Caller, model: str, operation: str, credits: int
) -> None:
    job = last(caller, caller.post(LATER, {**BODY, "model": model}))
    assert (job.operation, job.price_tenths) == (operation, credits * 10)


def test_a_model_with_one_quality_does_not_cost_twice(caller: Caller) -> None:
    body = {**BODY, "model": "restore-face", "quality": "hd", "size": "512x512"}
    response = caller.post(LATER, body)
    assert last(caller, response).price_tenths == 30
    assert len(response.json["warnings"]) == 2


def test_without_a_model_the_default_one_edits(caller: Caller) -> None:
    job = last(caller, caller.post(LATER, {"prompt": "a", "image": URL}))
    assert job.model == "flux-kontext"


BAD: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"image": None}, "image", "is required"),
    ({"image": []}, "image", "is required"),
    ({"image": 7}, "image", "must be a URL or a data URL, not a number"),
    ({"image": [URL, {"url": URL}]}, "image[1]", "not an object"),
    ({"image": "a.png"}, "image", "whole URL"),
    ({"image": "file:///etc/passwd"}, "image", "whole URL"),
    ({"image": "http://127.0.0.1/a.png"}, "image", "public host"),
    ({"image": "data:image/png"}, "image", "not a data URL"),
    ({"image": "data:image/png,abc"}, "image", "without base64"),
    ({"image": "data:image/png;base64,@@@@"}, "image", "not valid base64"),
    ({"image": "data:image/png;base64,"}, "image", ""),
    ({"image": "data:image/png;base64,aGVsbG8="}, "image", ""),
    ({"image": [URL] * 5}, "image", "at most 4 images at a time, got 5"),
    ({"image": [URL] * 2, "model": "restore-face"}, "image", "at most 1 image at a time, got 2"),
    ({"mask": 7}, "mask", "must be a URL or a data URL"),
    ({"mask": URL, "model": "flux-2"}, "mask", "is not taken by flux-2"),
    ({"mask": data_url(picture())}, "mask", "must be transparent where"),
    (
        {"image": data_url(picture()), "mask": data_url(cut(30, 40))},
        "mask",
        "must be 40x30 like the image, got 30x40",
    ),
    ({"prompt": None}, "prompt", "is required"),
    ({"model": "remove-object", "prompt": ""}, "mask", "at least one of mask, prompt"),
    ({"model": "sdxl"}, "model", "/v1/images/generations"),
    ({"model": "wan-i2v"}, "model", "/v1/async/videos/generations"),
    ({"model": "nothing"}, "model", "Choose one of flux-schnell"),
    ({"n": 0}, "n", "from 1 to 4"),
    ({"size": "axb"}, "size", "WIDTHxHEIGHT"),
    ({"response_format": "png"}, "response_format", "url, b64_json"),
    ({"model": "remove-background", "output_format": "jpeg"}, "output_format", "png, webp"),
)


def test_bad_fields_are_named_and_nothing_is_made(caller: Caller) -> None:
    before = caller.footprint()
    for path in (WAIT, LATER):
        for change, field, words in BAD:
            error = problem(caller.post(path, {**BODY, **change}), 400, INVALID)
            assert (error["param"], words in error["message"]) == (field, True), error
    forms: tuple[tuple[tuple[Part, ...], str], ...] = (
        ((("mask", cut(), "m.png"),), "image"),
        ((FILE, ("mask", picture(), "m.png")), "mask"),
        ((FILE, ("mask", cut(30, 40), "m.png")), "mask"),
        ((("image", b"no picture", "a.png"),), "image"),
        ((FILE, ("image", b"no picture", "b.png")), "image[1]"),
        ((("image", b"", ""),), "image"),
        ((FILE, ("n", "1"), ("n", "1")), "n"),
        ((FILE, ("prompt", b"a", "p.txt")), "prompt"),
        ((("image", picture("GIF"), "a.gif"),), "image"),
        ((("image", data_url(bytes(200_000))),), "image"),
        ((("image", "no URL"),), "image"),
    )
    for parts, field in forms:
        error = problem(sent(caller, *TEXTS, *parts), 400, INVALID)
        assert error["param"] == field, error
    assert caller.footprint() == before


def test_too_much_is_a_413_in_the_dialects_shape(caller: Caller) -> None:
    before = caller.footprint()
    large = b"\x89PNG" + bytes(11 << 20)
    for response in (
        caller.post(LATER, {**BODY, "image": data_url(large)}),
        sent(caller, *TEXTS, ("image[]", large, "a.png")),
    ):
        error = problem(response, 413, INVALID)
        assert error["param"] == "image"
        assert "10,485,760 bytes" in error["message"]
    whole = json.dumps({**BODY, "image": "data:image/png;base64," + "A" * (33 << 20)}).encode()
    for path in (WAIT, LATER, FILMS):
        error = problem(caller.post_bytes(whole, "application/json", path), 413, INVALID)
        assert (error["param"], "33,554,432" in error["message"]) == (None, True)
    files = [("image", b"\x89PNG" + bytes(9 << 20), f"{n}.png") for n in range(4)]
    assert problem(sent(caller, *TEXTS, *files), 413, INVALID)["param"] is None
    assert caller.footprint() == before


def test_a_body_that_is_neither_is_said_so(caller: Caller) -> None:
    for data, kind in ((b"a=b", "application/x-www-form-urlencoded"), (b"x", None), (b"{", "a/b")):
        error = problem(caller.post_bytes(data, kind, LATER), 400, INVALID)
        assert "multipart/form-data" in error["message"]


def test_a_retry_with_the_same_key_is_the_same_request(caller: Caller) -> None:
    form = (*TEXTS, FILE, ("image", picture(width=50), "b.png"), ("mask", cut(), "m.png"))
    first = sent(caller, *form, **{"Idempotency-Key": "k"})
    again = sent(caller, *form, **{"Idempotency-Key": "k"})
    assert again.json == first.json
    assert again.headers["Idempotency-Replayed"] == "true"
    swapped = (*TEXTS, form[3], FILE, form[4])
    problem(sent(caller, *swapped, **{"Idempotency-Key": "k"}), 400, INVALID)
    assert len(jobs_of(caller)) == 1


def test_pictures_that_could_not_be_fetched_are_a_400(caller: Caller) -> None:
    def refuse() -> TestResponse:
        return caller.post(WAIT, BODY)

    before = len(jobs_of(caller))
    response = answered(caller, refuse, ["refuse-url"])
    error = problem(response, 400, INVALID)
    assert error["message"] == "image: could not be fetched."
    assert jobs_of(caller)[before].state is JobState.FAILED


class TestFilms:
    BODY = {"model": "wan2.1", "prompt": "waves"}  # noqa: RUF012

    def made(self, caller: Caller, **fields: Any) -> JobView:
        """The job of an accepted request."""
        return last(caller, caller.post(FILMS, {**self.BODY, **fields}))

    def test_words_or_a_picture_decide_what_is_done(self, caller: Caller) -> None:
        job = self.made(caller)
        assert (job.operation, job.model, job.price_tenths) == ("video", "wan2.1", 500)
        job = self.made(caller, model="wan-i2v", image=URL)
        assert (job.operation, job.price_tenths) == ("image-to-video", 600)
        assert urls_of(caller, job) == {"image": (URL, False)}
        for image, runs in ((None, "wan2.1"), (data_url(picture()), "wan-i2v")):
            job = self.made(caller, model="veo", image=image)
            assert (job.model, job.sold_model, job.price_tenths) == (runs, "veo", 2000)
        form = (("model", "wan-i2v"), ("prompt", "waves"), ("seconds", "2"), FILE)
        assert last(caller, sent(caller, *form, path=FILMS)).params["duration"] == 2.0

    def test_length_and_size_go_by_two_names(self, caller: Caller) -> None:
        for fields in (
            {"seconds": "2", "size": "1280x720"},
            {"duration": 2, "resolution": "720p"},
            {"seconds": 2.0, "duration": "2.0", "size": "720p", "resolution": "720p"},
        ):
            job = self.made(caller, **fields)
            assert (job.params["duration"], job.params["resolution"]) == (2.0, "720p")
            assert job.price_tenths == 1000
        assert self.made(caller, size="auto").params["resolution"] == "480p"

    BAD: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"model": None}, "model", "is required"),
        ({"model": "sdxl"}, "model", "/v1/images/generations"),
        ({"image": URL}, "image", "wan-i2v"),
        ({"model": "wan-i2v"}, "image", "is required by wan-i2v"),
        ({"model": "wan-i2v", "image": ""}, "image", "is required by wan-i2v"),
        ({"model": "wan-i2v", "image": [URL, URL]}, "image", "at most 1 image"),
        ({"seconds": 0}, "seconds", "from 1 to 10"),
        ({"duration": 11}, "duration", "from 1 to 10"),
        ({"seconds": "long"}, "seconds", "number of seconds"),
        ({"seconds": True}, "seconds", "number of seconds"),
        ({"seconds": 1e400}, "seconds", "finite"),
        ({"seconds": 2, "duration": 3}, "duration", "is 3, and seconds 2"),
        ({"size": "10x10"}, "size", "480p, 720p"),
        ({"size": "720x1280"}, "size", "wider than high"),
        ({"resolution": "1080p"}, "resolution", "480p, 720p"),
        ({"resolution": 720}, "resolution", "must be text"),
        ({"size": "720p", "resolution": "480p"}, "size", "says 720p"),
        ({"seed": -1}, "seed", "from 0"),
        ({"prompt": ""}, "prompt", "must not be empty"),
    )

    def test_bad_fields_are_named_and_nothing_is_made(self, caller: Caller) -> None:
        before = caller.footprint()
        for change, field, words in self.BAD:
            body = json.dumps({**self.BODY, **change}).encode()
            response = caller.post_bytes(body, "application/json", FILMS)
            error = problem(response, 400, INVALID)
            assert (error["param"], words in error["message"]) == (field, True), error
        assert caller.footprint() == before
