"""Pixza beyond what every storefront does: three types, the wait, the history, the webhook."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from werkzeug.test import TestResponse

from api.app import runtime_of
from api.storefronts.pixza.translate import prefers_async
from farm import inputs, views
from farm.events import JobEvent
from farm.views import JobView
from tests import factories
from tests.api.caller import Caller
from tests.contracts.storefront import Shop, open_shop
from tests.farm.checks import assert_books_balance
from tests.farm.webhooks.receiver import Receiver, pump
from tests.processes import wait_until
from tests.services import Databases, flush

BASE = "/pixza/api/v1"
GENERATE = f"{BASE}/generate"
URL = "https://example.com/a.jpg"
WAIT_S = 20.0
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture(scope="module")
def shop(
    databases: Databases,
    redis_server: str,
    tmp_path_factory: pytest.TempPathFactory,
    receiver: Receiver,
) -> Iterator[Shop]:
    """The API, whose first answers wait for images longer than any test takes."""
    flush(redis_server)
    folder = tmp_path_factory.mktemp("pixza")
    with (
        databases.fresh() as url,
        open_shop(url, redis_server, folder, pixza_wait_s=WAIT_S, fetch_allow=receiver.trust) as it,
    ):
        yield it


@pytest.fixture
def caller(shop: Shop) -> Caller:
    """A customer who affords everything."""
    return shop.caller("pixza", "agency")


def newest(caller: Caller) -> JobView:
    """The customer's last job."""
    [job] = views.newest_jobs(caller.services.db, caller.customer.account_id, limit=1)
    return job


def submitted(caller: Caller, **body: Any) -> tuple[dict[str, Any], JobView]:
    """The answer to a request that does not wait, and its job."""
    response = caller.post(GENERATE, {"prompt": "a", **body}, Prefer="respond-async")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json
    return found, newest(caller)


def meanwhile(
    caller: Caller, body: dict[str, Any], happen: Callable[[JobView], object]
) -> TestResponse:
    """The answer to a request that waits, while something happens to its job."""
    account_id = caller.customer.account_id
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(caller.post, GENERATE, body)
        wait_until(
            lambda: views.newest_jobs(caller.services.db, account_id, limit=1),
            PATIENCE_S,
            "no job was made",
        )
        job = newest(caller)
        happen(job)
        state = views.find_job(caller.services.db, job.id).state
        runtime_of(caller.app).announcer.tell(JobEvent(job.id, state, 1))
        return waiting.result(PATIENCE_S)


def test_an_image_that_is_ready_in_time_is_the_first_answer(caller: Caller) -> None:
    services = caller.services

    def succeed(job: JobView) -> None:
        assert factories.succeed(services, factories.claimed(services, job.id))

    response = meanwhile(caller, {"type": "image", "prompt": "a", "seed": 7}, succeed)
    assert response.status_code == 200
    answer = response.json
    assert (answer["status"], answer["credits_used"], answer["seed"]) == ("completed", 1, 7)
    assert answer["served_by"] == "test"
    with caller.app.test_client().get(answer["output_url"]) as file:
        assert file.data == b"picture"
    assert caller.get(f"{GENERATE}/{answer['id']}").json == answer


def test_a_failure_within_the_wait_says_why_and_costs_nothing(caller: Caller) -> None:
    services = caller.services

    def fail(job: JobView) -> None:
        factories.fail(services, factories.claimed(services, job.id))

    answer = meanwhile(caller, {"type": "image", "prompt": "a"}, fail).json
    assert (answer["status"], answer["credits_used"]) == ("failed", 0)
    assert (answer["error"], answer["message"]) == ("engine_failed", "It broke.")
    assert answer["output_url"] is None
    assert caller.get(f"{BASE}/credits").json["credits_remaining"] == 40_000
    assert_books_balance(services)


def test_who_prefers_not_to_wait_does_not(caller: Caller) -> None:
    body = {"type": "image", "prompt": "a", "width": 768}
    response = caller.post(GENERATE, body, Prefer="Respond-Async, wait=10")
    answer = response.json
    assert response.headers["Preference-Applied"] == "respond-async"
    assert answer == {
        "id": answer["id"],
        "status": "queued",
        "type": "image",
        "model": "flux-schnell",
        "prompt": "a",
        "output_url": None,
        "width": 768,
        "height": 1024,
        "credits_used": 1,
        "created_at": answer["created_at"],
    }
    polled = caller.get(f"{GENERATE}/{answer['id']}").json
    assert polled.items() >= answer.items()


@pytest.mark.parametrize(
    ("header", "is_async"),
    [
        ("respond-async", True),
        ("wait=5, respond-async;x=y", True),
        ("", False),
        ("wait=5", False),
        ("respond-asynchronously", False),
        ("return=minimal; respond-async", False),
    ],
)
def test_preferences_are_read_as_rfc_7240_writes_them(header: str, is_async: bool) -> None:
    assert prefers_async(header) is is_async


@pytest.mark.parametrize("type_", ["video", "3d"])
def test_videos_and_3d_are_never_waited_for(caller: Caller, type_: str) -> None:
    response = caller.post(GENERATE, {"type": type_, "prompt": "a"})
    assert "Preference-Applied" not in response.headers
    answer = response.json
    assert (answer["status"], answer["type"]) == ("queued", type_)
    assert (answer["width"], answer["height"]) == (None, None)


def test_the_wait_ends_with_the_object_as_it_stands(
    databases: Databases, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("short")
    with databases.fresh() as url, open_shop(url, redis_server, folder, pixza_wait_s=0.05) as shop:
        caller = shop.caller("pixza", "agency")
        first = caller.post(GENERATE, {"type": "image", "prompt": "a"}, Idempotency_Key="k")
        assert first.status_code == 200
        assert first.json["status"] == "queued"
        assert first.json["receipt"]["held"] == 1.0
        claim = factories.claimed(shop.services, newest(caller).id)
        again = caller.post(GENERATE, {"type": "image", "prompt": "a"}, Idempotency_Key="k")
        assert again.headers["Idempotency-Replayed"] == "true"
        assert (again.json["id"], again.json["status"]) == (first.json["id"], "processing")
        assert factories.succeed(shop.services, claim)
        assert caller.get(f"{GENERATE}/{first.json['id']}").json["status"] == "completed"


def test_refused_words_are_answered_at_once(caller: Caller) -> None:
    answer = caller.post(GENERATE, {"type": "image", "prompt": "forbidden fruit"}).json
    assert (answer["status"], answer["credits_used"]) == ("blocked", 0)
    polled = caller.get(f"{GENERATE}/{answer['id']}").json
    assert "content policy" in polled["message"]
    assert polled["receipt"]["charged"] == 0.0


@pytest.mark.parametrize(
    ("body", "model", "runs", "operation", "price"),
    [
        ({"type": "image"}, "flux-schnell", "flux-schnell", "generate", 1),
        ({"type": "image", "model": "flux"}, "flux-schnell", "flux-schnell", "generate", 1),
        ({"type": "image", "model": "flux-dev"}, "flux-dev", "flux-dev", "generate", 2),
        ({"type": "image", "model": "flux-pro"}, "flux-pro", "flux-dev", "generate", 4),
        ({"type": "image", "model": "seedream"}, "seedream", "flux-dev", "generate", 3),
        ({"type": "image", "input_image": URL}, "flux-schnell", "flux-schnell", "edit", 1),
        (
            {"type": "image", "input_image": URL, "model": "flux-kontext"},
            *("flux-kontext", "flux-kontext", "edit", 4),
        ),
        ({"type": "video"}, "wan2.1", "wan2.1", "video", 20),
        ({"type": "video", "input_image": URL}, "wan-i2v", "wan-i2v", "image-to-video", 20),
        ({"type": "video", "model": "veo-3-fast"}, "veo-3-fast", "wan2.1", "video", 50),
        (
            {"type": "video", "model": "veo-3-fast", "input_image": URL},
            *("veo-3-fast", "wan-i2v", "image-to-video", 50),
        ),
        ({"type": "3d"}, "shap-e", "shap-e", "3d", 5),
    ],
)
def test_type_model_and_picture_say_what_is_done(
    caller: Caller, body: dict[str, Any], model: str, runs: str, operation: str, price: int
) -> None:
    answer, job = submitted(caller, **body)
    assert (answer["model"], answer["type"], answer["credits_used"]) == (model, body["type"], price)
    assert (job.model, job.sold_model, job.operation) == (runs, model, operation)
    with caller.services.db.statement() as connection:
        urls = connection.execute(
            text("SELECT name, url FROM inputs WHERE job_id = :id"), {"id": job.id}
        ).all()
    assert [tuple(row) for row in urls] == ([("image", URL)] if "input_image" in body else [])
    assert "warnings" not in answer


def test_sizes_steps_and_seeds_are_the_models_own(caller: Caller) -> None:
    _, job = submitted(caller, type="image", width=256, height=2048, steps=8, seed=0)
    assert job.params == {
        "prompt": "a", "width": 256, "height": 2048, "steps": 8, "seed": 0, "guidance_scale": 0.0
    }  # fmt: skip
    _, edit = submitted(caller, type="image", input_image=URL)
    assert not edit.params.keys() & {"width", "height"}
    _, sized = submitted(caller, type="image", input_image=URL, width=512, height=512)
    assert (sized.params["width"], sized.params["height"]) == (512, 512)
    answer, video = submitted(caller, type="video", width="wide", steps=4, style="noir")
    assert not video.params.keys() & {"width", "steps"}
    assert answer["warnings"] == [
        "width is not used by wan2.1.",
        "steps is not used by wan2.1.",
        "style is not a known field and was not used.",
    ]


def test_every_null_is_as_if_it_were_not_there(caller: Caller) -> None:
    fields = ("model", "input_image", "width", "height", "steps", "seed", "webhook_url")
    answer, job = submitted(caller, type="image", **dict.fromkeys(fields))
    assert answer["model"] == "flux-schnell"
    assert job.params["width"] == 1024


def test_several_wrong_fields_are_said_at_once(caller: Caller) -> None:
    body = {"type": "image", "prompt": "", "width": 1, "input_image": "x", "webhook_url": "y"}
    sentence = caller.post(GENERATE, body).json["message"]
    for field in ("prompt:", "input_image:", "webhook_url:"):
        assert field in sentence


def test_a_body_that_is_too_large_is_a_validation_error(caller: Caller) -> None:
    before = caller.footprint()
    size = caller.services.settings.body_bytes_max + 1
    response = caller.app.test_client().post(
        GENERATE,
        input_stream=io.BytesIO(b" " * size),
        content_length=size,
        content_type="application/json",
        headers=caller.headers,
    )
    assert (response.status_code, response.json["error"]) == (422, "validation_error")
    assert caller.footprint() == before


def test_a_picture_that_cannot_be_had_is_called_by_its_own_name(caller: Caller) -> None:
    answer, job = submitted(caller, type="image", input_image=URL)
    assert inputs.refuse(caller.services.db, job.id, "input_unavailable", "image_url: is away.")
    failed = caller.get(f"{GENERATE}/{answer['id']}").json
    assert (failed["status"], failed["message"]) == ("failed", "input_image: is away.")


def test_the_history_is_walked_while_it_grows(caller: Caller) -> None:
    made = [submitted(caller, type="image")[0]["id"] for _ in range(7)]
    seen: list[str] = []
    cursor, pages = "", 0
    while pages < 10:
        page = caller.get(f"{BASE}/generations?limit=3{cursor}").json
        pages += 1
        seen += [each["id"] for each in page["generations"]]
        if page["next_cursor"] is None:
            break
        assert isinstance(page["next_cursor"], int)
        cursor = f"&cursor={page['next_cursor']}"
        submitted(caller, type="image")
    assert (pages, seen) == (3, made[::-1])
    whole = caller.get(f"{BASE}/generations").json
    assert len(whole["generations"]) == 9
    assert whole["next_cursor"] is None
    assert caller.get(f"{BASE}/generations?cursor=1").json["generations"] == []


def test_a_page_that_there_cannot_be_is_said_so(caller: Caller, shop: Shop) -> None:
    for query in (
        *("limit=0", "limit=101", "limit=-1", "limit=x", "limit=1.5", "limit=", "limit=%D9%A3"),
        *("cursor=0", "cursor=-3", "cursor=abc", "cursor=1e3", "cursor=", f"cursor={'9' * 19}"),
        f"cursor={'9' * 4000}",
    ):
        refused = caller.get(f"{BASE}/generations?{query}")
        assert (refused.status_code, refused.json["error"]) == (422, "validation_error"), query
        assert query.partition("=")[0] in refused.json["message"]
    other = shop.caller("pixza", "agency")
    submitted(other, type="image")
    submitted(caller, type="image")
    for cursor in (newest(other).seq + 1, 2**63 - 1):
        theirs = caller.get(f"{BASE}/generations?cursor={cursor}").json["generations"]
        assert [uuid.UUID(each["id"].removeprefix("gen_")) for each in theirs] in (
            [newest(caller).id],
            [],
        )


def test_the_documents_example_and_variants_are_what_is_taken(caller: Caller) -> None:
    document = caller.get("/docs/pixza/openapi.json").json
    schemas = document["components"]["schemas"]
    [example] = schemas["Generate"]["examples"]
    answer, _ = submitted(caller, **example)
    assert "warnings" not in answer
    variants = [schemas[each["$ref"].rpartition("/")[2]] for each in schemas["Generate"]["anyOf"]]
    shown = set()
    for variant in variants:
        fields = variant["properties"]
        needs_picture = "input_image" in variant["required"]
        body = {"type": fields["type"]["const"], "input_image": URL if needs_picture else None}
        names = [fields["model"], *fields["model"].get("anyOf", ())]
        model = next(n.get("const") or n["enum"][0] for n in names if {"const", "enum"} & n.keys())
        answer, _ = submitted(caller, model=model, **body)
        shown.add((answer["model"], answer["type"], needs_picture))
    assert len(shown) == len(variants) == 12


def test_the_models_are_the_price_book(shop: Shop) -> None:
    models = shop.app.test_client().get(f"{BASE}/models").json["models"]
    book = {each["id"]: (each["type"], each["credits"]) for each in models}
    assert book == {
        "flux-schnell": ("image", 1),
        "flux-dev": ("image", 2),
        "flux-pro": ("image", 4),
        "flux-kontext": ("image", 4),
        "seedream": ("image", 3),
        "gemini-imagen-4": ("image", 3),
        "veo-3-fast": ("video", 50),
        "wan-i2v": ("video", 20),
        "wan2.1": ("video", 20),
        "shap-e": ("3d", 5),
    }
    served = {each["id"]: each["served_by"] for each in models}
    assert "flux-dev" in served["flux-pro"]
    assert all(each["description"] for each in models)


def test_the_webhook_is_the_object_signed(caller: Caller, receiver: Receiver) -> None:
    services = caller.services
    secret = caller.get("/v1/account/webhooks/default/secret").json["secret"]
    receiver.secrets["/pixza"] = secret
    answer, job = submitted(caller, type="3d", webhook_url=receiver.url("/pixza"))
    assert factories.succeed(services, factories.claimed(services, job.id))
    _, broken = submitted(caller, type="image", webhook_url=receiver.url("/pixza"))
    factories.fail(services, factories.claimed(services, broken.id))
    assert pump(services).drain() == 2
    told = {message.verified["id"]: message.verified for message in receiver.messages
            if message.verified}  # fmt: skip
    assert len(told) == 2
    polled = caller.get(f"{GENERATE}/{answer['id']}").json
    assert polled["status"] == "completed"
    assert told[answer["id"]] == polled
    failed = told[f"gen_{broken.id.hex}"]
    assert (failed["status"], failed["credits_used"]) == ("failed", 0)
