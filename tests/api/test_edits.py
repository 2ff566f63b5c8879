"""The five edits: from an upload or a URL to a queued job that holds its price."""

from __future__ import annotations

import io
import re
import socket
import uuid
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import text

from api.app import create_app, runtime_of
from api.runtime import Runtime
from farm.catalog import Catalog
from farm.config import Settings
from farm.intake.pictures import PictureReader
from tests import factories
from tests.api.caller import Caller, Part
from tests.api.pictures import mask, picture
from tests.farm.intake.hostile_urls import REFUSED_AT_SUBMIT, at_port

URL = "https://example.com/shoe.jpg"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
PREFIXES = {
    "remove-background": "bg-rm-",
    "replace-background": "bg-rp-",
    "restore-face": "face-",
    "remove-object": "obj-rm-",
    "upscale": "up-",
}
CREDITS = {
    "remove-background": 2.0,
    "replace-background": 5.0,
    "restore-face": 3.0,
    "remove-object": 5.0,
    "upscale": 20.0,
}
NEEDED: dict[str, dict[str, str]] = {
    "replace-background": {"prompt": "on a beach"},
    "remove-object": {"prompt": "the red ball"},
}
"""What an operation needs beside its picture."""


def _form(operation: str) -> list[Part]:
    return [("image", picture(), "shoe.png"), *NEEDED.get(operation, {}).items()]


def _inputs(caller: Caller, generation_id: str) -> dict[str, dict[str, Any]]:
    """The rows of a job's inputs, by name."""
    job_id = generation_id[-36:]
    with caller.services.db.statement() as connection:
        rows = connection.execute(
            text("SELECT * FROM inputs WHERE job_id = :id ORDER BY name"), {"id": job_id}
        ).mappings()
        return {row["name"]: dict(row) for row in rows}


@pytest.mark.parametrize("operation", PREFIXES)
def test_an_upload_becomes_a_job(caller: Caller, operation: str) -> None:
    before = caller.footprint()
    response = caller.upload(operation, *_form(operation))
    assert response.status_code == 200, response.json
    answer = response.json
    assert re.fullmatch(PREFIXES[operation] + UUID, answer.pop("generation_id"))
    assert answer == {
        "status": "queued",
        "operation": operation,
        "credits_used": CREDITS[operation],
    }
    after = caller.footprint()
    assert after["held"] - before["held"] == CREDITS[operation] * 10
    assert after["inputs"] == after["files"] == 1


@pytest.mark.usefixtures("own_app")
@pytest.mark.parametrize("operation", PREFIXES)
def test_a_url_becomes_a_job_that_waits_for_its_picture(
    runtime: Runtime, caller: Caller, operation: str
) -> None:
    response = caller.edit(operation, {"image_url": URL, **NEEDED.get(operation, {})})
    assert response.status_code == 200, response.json
    assert response.json["operation"] == operation
    found = _inputs(caller, response.json["generation_id"])
    assert {name: row["url"] for name, row in found.items()} == {"image": URL}
    assert caller.footprint()["files"] == 0
    runtime.dispatcher.stop()
    assert runtime.dispatcher.counts.sent == 1


def test_what_is_stored_is_the_picture_itself(caller: Caller) -> None:
    answer = caller.upload("remove-background", ("image", picture("JPEG"), "x.png")).json
    row = _inputs(caller, answer["generation_id"])["image"]
    assert (row["width"], row["height"]) == (40, 30)
    with caller.services.storage.open(row["key"]) as file:
        stored = Image.open(io.BytesIO(file.read()))
        assert (stored.format, stored.mode, stored.size) == ("TIFF", "RGB", (40, 30))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_type_is_the_contents_not_the_names(caller: Caller, kind: str) -> None:
    part = ("image", picture(kind), "notes.txt")
    assert caller.upload("upscale", part).status_code == 200


def test_a_part_that_says_it_is_a_picture_needs_no_file_name(caller: Caller) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="image"\r\nContent-Type: image/png\r\n\r\n'
    body += picture() + b"\r\n--x--\r\n"
    response = caller.post_bytes(body, "multipart/form-data; boundary=x", "/v1/image/upscale")
    assert response.status_code == 200


@pytest.mark.parametrize(
    "parts",
    [
        [("image", picture(), "a.png"), ("mask", mask(), "m.png")],
        [("image", picture(), "a.png"), ("mask", mask(), "m.png"), ("prompt", "the ball")],
        [("image", picture(), "a.png"), ("prompt", "the ball")],
        [("image", picture(), "a.png"), ("prompt", "the ball"), ("mask", b"", "")],
        [("image", picture(), "a.png"), ("mask_url", URL)],
        [("image_url", URL), ("mask", mask(), "m.png")],
        [("image_url", URL), ("mask_url", URL)],
        [("image_url", URL), ("image", b"", ""), ("mask_url", URL), ("prompt", "")],
    ],
)
def test_every_way_to_say_what_to_remove(caller: Caller, parts: list[Part]) -> None:
    response = caller.upload("remove-object", *parts)
    assert response.status_code == 200, response.json
    given = {part[0].removesuffix("_url") for part in parts if part[1]} - {"prompt"}
    assert set(_inputs(caller, response.json["generation_id"])) == given


@pytest.mark.parametrize(
    "body", [{"mask_url": URL}, {"prompt": "a"}, {"mask_url": URL, "prompt": "a"}]
)
def test_every_way_to_say_what_to_remove_in_json(caller: Caller, body: dict[str, str]) -> None:
    assert caller.edit("remove-object", {"image_url": URL, **body}).status_code == 200


def test_numbers_in_a_form_are_numbers(caller: Caller) -> None:
    shoe = ("image", picture(), "a.png")
    answer = caller.upload("replace-background", shoe, ("prompt", "a beach"), ("seed", "7")).json
    assert caller.get(f"/v1/image/{answer['generation_id']}").json["seed"] == 7
    assert caller.upload("upscale", shoe, ("scale", "4")).status_code == 200
    assert caller.upload("upscale", shoe, ("scale", "")).status_code == 200


def test_what_the_farm_draws_is_shown(caller: Caller) -> None:
    body = {"image_url": URL, "prompt": "a beach"}
    answer = caller.edit("replace-background", body).json
    assert 0 <= caller.get(f"/v1/image/{answer['generation_id']}").json["seed"] < 2**32


def test_unknown_fields_are_named_with_the_nearest_known(caller: Caller) -> None:
    shoe = ("image", picture(), "a.png")
    answer = caller.upload("upscale", shoe, ("scal", "4"), ("thing", b"x", "x.bin"), ("user", "me"))
    assert answer.status_code == 200
    warnings = answer.json["warnings"]
    assert warnings == [
        "scal is not a known field and was not used. Did you mean scale?",
        "thing is not a known field and was not used.",
        "user is not a known field and was not used.",
    ]
    assert caller.get(f"/v1/image/{answer.json['generation_id']}").json["warnings"] == warnings


def test_a_mask_is_unknown_where_nothing_is_masked(caller: Caller) -> None:
    answer = caller.edit("remove-background", {"image_url": URL, "mask_url": URL}).json
    assert answer["warnings"] == [
        "mask_url is not a known field and was not used. Did you mean image_url?"
    ]


def test_the_status_bears_the_same_id(caller: Caller) -> None:
    answer = caller.upload("remove-background", *_form("remove-background")).json
    generation_id = answer["generation_id"]
    status = caller.get(f"/v1/image/{generation_id}").json
    assert status["id"] == status["generation_id"] == generation_id
    assert status["operation"] == "remove-background"
    assert "model" not in status
    assert caller.get(f"/v1/image/upscale/{generation_id}").json == status
    assert caller.get(f"/v1/image/{generation_id[-36:]}").json == status
    assert caller.get("/v1/account/usage").json["usage"][0]["id"] == generation_id


def test_an_id_with_another_prefix_is_a_404(caller: Caller) -> None:
    job_id = caller.edit("upscale", {"image_url": URL}).json["generation_id"][-36:]
    for name in (f"bg-rm-{job_id}", f"UP-{job_id}", f"up{job_id}", f"-{job_id}", f"up-up-{job_id}"):
        response = caller.get(f"/v1/image/{name}")
        assert response.status_code == 404, name
        assert response.json["detail"]
    plain = caller.generate({"prompt": "a"}).json["generation_id"]
    assert caller.get(f"/v1/image/up-{plain}").status_code == 404
    assert caller.get(f"/v1/image/{uuid.uuid4()}").status_code == 404


def test_an_edit_of_another_account_is_a_404(app: Flask, runtime: Runtime, caller: Caller) -> None:
    other = Caller(app, runtime.services, factories.customer(runtime.services, plan="scale"))
    generation_id = other.edit("upscale", {"image_url": URL}).json["generation_id"]
    for name in (generation_id, generation_id[-36:]):
        assert caller.get(f"/v1/image/{name}").status_code == 404
        assert caller.get(f"/v1/image/upscale/{name}").status_code == 404
        assert other.get(f"/v1/image/{name}").status_code == 200


def test_clients_of_0_2_hear_the_words_they_know(caller: Caller) -> None:
    agent = "pixelapi-python/0.2.0"
    answer = caller.edit("upscale", {"image_url": URL}, User_Agent=agent).json
    assert answer["status"] == "pending"
    path = f"/v1/image/{answer['generation_id']}"
    assert caller.get(path, User_Agent=agent).json["status"] == "pending"
    assert caller.get(path).json["status"] == "queued"


def test_a_refused_prompt_is_blocked_and_nothing_is_kept(caller: Caller) -> None:
    shoe = ("image", picture(), "a.png")
    response = caller.upload("replace-background", shoe, ("prompt", "a forbidden fruit"))
    assert response.json["status"] == "blocked"
    assert response.json["credits_used"] == 0.0
    after = caller.footprint()
    assert (after["held"], after["files"], after["inputs"]) == (0, 0, 0)


def test_no_credit_is_a_402_and_nothing_is_kept(free_caller: Caller) -> None:
    before = free_caller.footprint()
    response = free_caller.upload("upscale", ("image", picture(), "a.png"))
    assert response.status_code == 402
    assert "Required: 20, available: 10" in response.json["detail"]
    assert free_caller.footprint() == before


def test_a_submit_counts_against_the_plan(free_caller: Caller) -> None:
    for _ in range(5):
        assert free_caller.edit("remove-background", {}).status_code == 422
    refused = free_caller.upload("remove-background", ("image", picture(), "a.png"))
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


def test_the_api_itself_fetches_nothing(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        host = f"127.0.0.1:{server.getsockname()[1]}"
        app = create_app(settings.model_copy(update={"fetch_allow": host}))
        runtime = runtime_of(app)
        try:
            caller = Caller(app, runtime.services, factories.customer(runtime.services))
            body = {"image_url": f"http://{host}/shoe.png"}
            assert caller.edit("remove-background", body).status_code == 200
            runtime.dispatcher.stop()
            with pytest.raises(BlockingIOError):
                server.accept()
        finally:
            runtime.close()


def test_hostile_urls_are_refused_at_once_and_nobody_is_asked(
    unlimited: Settings,
) -> None:
    app = create_app(unlimited)
    runtime = runtime_of(app)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        try:
            caller = Caller(
                app, runtime.services, factories.customer(runtime.services, plan="scale")
            )
            before = caller.footprint()
            for url in REFUSED_AT_SUBMIT:
                aimed = at_port(url, trap.getsockname()[1])
                for field in ("image_url", "mask_url"):
                    body = {"image_url": URL, "prompt": "a", field: aimed}
                    response = caller.edit("remove-object", body)
                    assert response.status_code == 422, (field, aimed)
                    assert [e["field"] for e in response.json["errors"]] == [field], aimed
            assert caller.footprint() == before
            with pytest.raises(BlockingIOError):
                trap.accept()
        finally:
            runtime.close()


def test_too_many_uploads_at_once_are_asked_to_come_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.runtime.PictureReader", lambda: PictureReader(1, wait_s=0.01))
    app = create_app(settings)
    runtime = runtime_of(app)
    try:
        caller = Caller(app, runtime.services, factories.customer(runtime.services, plan="scale"))
        before = caller.footprint()
        with runtime.pictures.turn():
            response = caller.upload("upscale", ("image", picture(), "a.png"))
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) > 0
            assert "again" in response.json["detail"]
            assert caller.footprint() == before
            assert caller.edit("upscale", {"image_url": URL}).status_code == 200
        assert caller.upload("upscale", ("image", picture(), "a.png")).status_code == 200
    finally:
        runtime.close()


def test_every_edit_of_the_catalogue_has_its_endpoint(app: Flask, catalog: Catalog) -> None:
    routes = {rule.rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    edits = [card for card in catalog.offered("pixelapi") if card.type == "edit"]
    assert {card.operation for card in edits} == {*PREFIXES, "try-on"}
    assert {card.endpoint for card in edits} <= routes
