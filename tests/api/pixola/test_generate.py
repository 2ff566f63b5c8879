"""What a request for a batch becomes: jobs that the model gets, and what the customer said."""

from __future__ import annotations

from typing import Any

import pytest

from farm import views
from farm.styles import built_in_styles
from farm.views import JobView
from tests.api.caller import Caller
from tests.contracts.storefront import Shop
from tests.farm.checks import assert_books_balance

BASE = "/pixola/api/v1"


@pytest.fixture
def caller(shop: Shop) -> Caller:
    """A customer on the largest plan."""
    return shop.caller("pixola", "studio")


def made(caller: Caller, **fields: Any) -> list[JobView]:
    """Submit a batch; its jobs as the farm has them, in their order."""
    response = caller.post(f"{BASE}/generate", {"prompt": "a cat", **fields})
    assert response.status_code == 200, response.text
    assert set(response.json) == {"batchId"}
    [jobs] = views.newest_batches(caller.services.db, caller.customer.account_id, limit=1)
    assert response.json["batchId"] == f"batch_{jobs[0].id}"
    return jobs


def test_a_prompt_alone_gets_the_defaults(caller: Caller) -> None:
    [job] = made(caller)
    assert (job.model, job.sold_as, job.operation) == ("flux-schnell", "", "generate")
    wanted = {"prompt": "a cat", "width": 1024, "height": 1024, "steps": 4}
    assert wanted.items() <= job.params.items()
    assert job.about == {
        "prompt": "a cat",
        "style": "no-style",
        "shape": "square",
        "quality": "standard",
    }
    assert (job.price_tenths, job.price_rule) == (10, "flux-schnell: 1")


def test_a_style_changes_what_the_model_gets_and_not_what_the_customer_said(
    caller: Caller,
) -> None:
    style = built_in_styles().styles["watercolor"]
    [job] = made(caller, model="sdxl", style="watercolour", prompt="a {prompt} in {braces}")
    assert job.params["prompt"] == style.prompt.replace("{prompt}", "a {prompt} in {braces}", 1)
    assert job.params["negative_prompt"] == style.negative != ""
    assert job.about["prompt"] == "a {prompt} in {braces}"
    assert job.about["style"] == "watercolor"
    [job] = made(caller, model="flux-2", style="watercolor")
    assert job.params["prompt"] == style.prompt.replace("{prompt}", "a cat")
    assert "negative_prompt" not in job.params
    shown = caller.get(f"{BASE}/styles/watercolor").json
    assert (shown["prompt"], shown["negativePrompt"]) == (style.prompt, style.negative)


def test_hd_is_larger_in_more_steps_for_twice_the_credits(caller: Caller) -> None:
    for model, steps in (("sdxl", (30, 45)), ("flux-schnell", (4, 6)), ("flux-2", (4, 6))):
        [plain] = made(caller, model=model, shape="landscape-wide")
        [hd] = made(caller, model=model, shape="landscape-wide", quality="hd")
        assert (plain.params["width"], plain.params["height"]) == (1280, 720)
        assert (hd.params["width"], hd.params["height"]) == (1920, 1080)
        assert (plain.params["steps"], hd.params["steps"]) == steps
        assert hd.price_tenths == 2 * plain.price_tenths
        assert hd.price_rule == f"{plain.price_rule} x 2 for quality hd"


def test_a_batch_is_several_jobs_held_for_together(caller: Caller) -> None:
    before = caller.footprint()
    jobs = made(caller, count=4, model="flux-2", seed=2**32 - 2)
    after = caller.footprint()
    assert after["jobs"] - before["jobs"] == 4
    assert after["held"] - before["held"] == 80
    assert [job.params["seed"] for job in jobs] == [2**32 - 2, 2**32 - 1, 0, 1]
    assert {job.batch_id for job in jobs} == {jobs[0].id}
    drawn = {job.params["seed"] for job in made(caller, count=4)}
    assert len(drawn) == 4, "images of one batch are all the same"


def test_a_batch_that_is_affordable_only_in_part_is_not_made(shop: Shop) -> None:
    caller = shop.caller("pixola", "free")
    body = {"prompt": "a", "model": "gpt-image-1.5", "quality": "hd", "count": 4}
    for _ in range(3):
        assert caller.post(f"{BASE}/generate", body).status_code == 200
    before = caller.footprint()
    assert (before["posted"] - before["held"]) == 40, "credits for half of another batch"
    refused = caller.post(f"{BASE}/generate", body)
    assert refused.status_code == 409
    assert refused.json["error"]["code"] == "insufficient_credits"
    assert "Required: 32, available: 4" in refused.json["error"]["message"]
    assert caller.footprint() == before
    assert_books_balance(shop.services)


def test_a_refused_prompt_writes_nothing_however_many_images(caller: Caller) -> None:
    before = caller.footprint()
    body = {"prompt": "forbidden\nfruit", "count": 3, "style": "oil-painting"}
    refused = caller.post(f"{BASE}/generate", body)
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "content_flagged")
    assert caller.footprint() == before


def test_a_model_of_somebody_else_runs_as_what_served_by_says(caller: Caller) -> None:
    [job] = made(caller, model="gpt-image-1.5")
    assert (job.model, job.sold_model) == ("flux-schnell", "gpt-image-1.5")
    assert job.price_tenths == 40
    listed = {m["slug"]: m for m in caller.get(f"{BASE}/models").json["models"]}
    assert listed["gpt-image-1.5"]["servedBy"] == "flux-schnell-tiny"
    [image] = caller.get(f"{BASE}/batches/batch_{job.id}").json["images"]
    assert image["model"] == "gpt-image-1.5"


def test_every_style_and_shape_and_model_can_be_asked_for(shop: Shop) -> None:
    book = built_in_styles()
    names = [{"style": name} for name in book.styles]
    names += [{"style": style.alias} for style in book.styles.values() if style.alias]
    names += [{"shape": name, "quality": "hd"} for name in book.shapes]
    names += [{"model": card.id} for card in shop.services.offers.sold("pixola")]
    caller = shop.caller("pixola", "studio")
    for number, fields in enumerate(names):
        if number % 29 == 0:
            caller = shop.caller("pixola", "studio")
        [job] = made(caller, **fields)
        sides = (job.params["width"], job.params["height"])
        assert all(side % 8 == 0 and 256 <= side <= 2048 for side in sides), fields


@pytest.mark.parametrize("name", ["webhook_url", "webhookUrl"])
def test_whoever_waits_for_the_end_may_name_it_in_either_spelling(
    caller: Caller, name: str
) -> None:
    [job] = made(caller, **{name: "https://shop.example/hook"})
    with caller.services.db.statement() as connection:
        url = connection.exec_driver_sql(
            f"SELECT webhook_url FROM jobs WHERE id = '{job.id}'"
        ).scalar_one()
    assert url == "https://shop.example/hook"


def test_a_plan_without_webhooks_says_so(shop: Shop) -> None:
    caller = shop.caller("pixola", "free")
    body = {"prompt": "a", "webhook_url": "https://shop.example/hook"}
    refused = caller.post(f"{BASE}/generate", body)
    assert (refused.status_code, refused.json["error"]["code"]) == (403, "forbidden")


def test_nulls_mean_the_defaults_and_strangers_are_named(caller: Caller) -> None:
    nothing = dict.fromkeys(("model", "style", "shape", "quality", "count", "seed", "webhookUrl"))
    [job] = made(caller, **nothing)
    assert job.model == "flux-schnell"
    answer = caller.post(f"{BASE}/generate", {"prompt": "a", "stile": "oil"})
    assert answer.json["warnings"] == [
        "stile is not a known field and was not used. Did you mean style?"
    ]
    batch = caller.get(f"{BASE}/batches/{answer.json['batchId']}").json
    assert batch["warnings"] == answer.json["warnings"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"style": "watercolr"}, "Did you mean watercolor"),
        ({"style": "☃" * 500}, "GET /styles lists them all"),
        ({"style": True}, "style: must be text"),
        ({"shape": "portrait-tal"}, "Did you mean portrait-tall"),
        ({"shape": "1024x1024"}, "GET /shapes lists them all"),
        ({"shape": {"width": 9}}, "shape: must be text"),
        ({"quality": "ultra"}, "standard, hd"),
        ({"quality": 2}, "quality: must be text"),
    ],
)
def test_a_look_that_is_not_known_is_answered_with_the_nearest(
    caller: Caller, fields: dict[str, Any], word: str
) -> None:
    before = caller.footprint()
    refused = caller.post(f"{BASE}/generate", {"prompt": "a cat", **fields})
    assert (refused.status_code, refused.json["error"]["code"]) == (400, "bad_request")
    assert word in refused.json["error"]["message"]
    assert [problem["field"] for problem in refused.json["error"]["fields"]] == list(fields)
    assert len(refused.text) < 2000
    assert caller.footprint() == before


def test_all_that_is_wrong_is_said_at_once(caller: Caller) -> None:
    body = {"prompt": 5, "model": "flx", "style": "x", "shape": "x", "quality": "x", "count": 9}
    refused = caller.post(f"{BASE}/generate", body).json["error"]
    assert {problem["field"] for problem in refused["fields"]} == set(body)
