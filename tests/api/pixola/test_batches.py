"""Batches and their images as they go: each image ends and is charged by itself."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from api.storefronts.pixola.translate import batch_status, title_of
from farm import settle, views
from farm.types import JobState
from tests import factories
from tests.api.caller import Caller
from tests.contracts.storefront import Shop
from tests.farm.checks import assert_books_balance

BASE = "/pixola/api/v1"
DONE, BROKEN, REFUSED = JobState.SUCCEEDED, JobState.FAILED, JobState.BLOCKED


@pytest.fixture
def caller(shop: Shop) -> Caller:
    """A customer on the free plan: 100 credits."""
    return shop.caller("pixola", "free")


def batch_of(caller: Caller, count: int) -> tuple[str, list[uuid.UUID]]:
    """A new batch: its id on the wire, and its jobs'."""
    answer = caller.post(f"{BASE}/generate", {"prompt": "two  cats\nand a dog", "count": count})
    [jobs] = views.newest_batches(caller.services.db, caller.customer.account_id, limit=1)
    return str(answer.json["batchId"]), [job.id for job in jobs]


def seen(caller: Caller, batch_id: str) -> tuple[str, list[str]]:
    """The batch's status and its images'."""
    answer = caller.get(f"{BASE}/batches/{batch_id}").json
    return answer["status"], [image["status"] for image in answer["images"]]


def test_images_end_one_by_one_and_each_is_charged_by_itself(caller: Caller) -> None:
    services = caller.services
    batch_id, [one, two, three] = batch_of(caller, 3)
    assert caller.get(f"{BASE}/credits").json == {"credits": 97, "plan": "free"}
    factories.succeed(services, factories.claimed(services, one))
    assert seen(caller, batch_id) == ("processing", ["complete", "processing", "processing"])
    factories.fail(services, factories.claimed(services, two))
    settle.cancel(services.db, None, three)
    assert seen(caller, batch_id) == ("complete", ["complete", "failed", "failed"])
    images = caller.get(f"{BASE}/batches/{batch_id}").json["images"]
    assert [image["creditsCharged"] for image in images] == [1, 0, 0]
    assert [image["url"] is None for image in images] == [False, True, True]
    assert images[1]["error"] == "It broke."
    assert "cancelled" in images[2]["error"]
    assert [image["receipt"]["returned"] for image in images] == [0, 1, 1]
    assert caller.get(f"{BASE}/credits").json["credits"] == 99
    assert_books_balance(services)


def test_a_batch_that_the_filter_refused_is_rejected(caller: Caller) -> None:
    services = caller.services
    batch_id, jobs = batch_of(caller, 2)
    for job_id in jobs:
        claim = factories.claimed(services, job_id)
        settle.block(services.db, claim, "blocked", "The result was refused.")
    assert seen(caller, batch_id) == ("rejected", ["rejected", "rejected"])
    assert caller.get(f"{BASE}/credits").json["credits"] == 100


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([JobState.QUEUED], "processing"),
        ([DONE, JobState.RUNNING], "processing"),
        ([REFUSED, JobState.QUEUED], "processing"),
        ([DONE, DONE], "complete"),
        ([BROKEN, REFUSED, JobState.EXPIRED, DONE], "complete"),
        ([BROKEN, JobState.CANCELLED, JobState.EXPIRED], "failed"),
        ([BROKEN, REFUSED], "failed"),
        ([REFUSED, REFUSED], "rejected"),
    ],
)
def test_the_word_for_a_batch_hangs_on_all_its_images(states: list[JobState], word: str) -> None:
    assert batch_status(states) == word
    assert batch_status(states[::-1]) == word


def test_an_image_by_itself_tells_its_prompt(caller: Caller) -> None:
    batch_id, [_, job_id] = batch_of(caller, 2)
    factories.succeed(caller.services, factories.claimed(caller.services, job_id))
    image = caller.get(f"{BASE}/images/img_{job_id}").json
    listed, _ = caller.get(f"{BASE}/images").json["images"]
    assert image.items() >= listed.items()
    assert set(listed) == {
        *("imageId", "batchId", "url", "title", "model", "status", "createdAt"),
        *("creditsCharged", "isFavorite"),
    }
    assert image["batchId"] == batch_id
    assert image["prompt"] == "two  cats\nand a dog"
    assert image["title"] == "Two cats and a dog"
    assert (image["status"], image["creditsCharged"]) == ("complete", 1)
    assert (image["seed"], image["servedBy"]) == (7, "test")
    with caller.app.test_client().get(image["url"]) as file:
        assert file.data == b"picture"


def test_no_id_is_taken_for_another_kind_of_id(caller: Caller) -> None:
    batch_id, [job_id] = batch_of(caller, 1)
    for path in (
        f"batches/img_{job_id}",
        f"batches/{job_id}",
        f"images/{batch_id}",
        f"images/{job_id}",
        f"images/img_{job_id}x",
    ):
        assert caller.get(f"{BASE}/{path}").status_code == 404, path
    assert caller.get(f"/v1/jobs/img_{job_id}").status_code == 404


def test_an_image_in_the_middle_of_a_batch_is_no_batch(caller: Caller) -> None:
    _, jobs = batch_of(caller, 3)
    for job_id in jobs[1:]:
        assert caller.get(f"{BASE}/batches/batch_{job_id}").status_code == 404


def test_a_favourite_is_remembered_until_it_is_none(shop: Shop, caller: Caller) -> None:
    _, [first, second] = batch_of(caller, 2)

    def change(who: Caller, job_id: uuid.UUID, body: Any) -> Any:
        path = f"{BASE}/images/img_{job_id}"
        return who.app.test_client().patch(path, json=body, headers=who.headers)

    def hearts() -> dict[str, bool]:
        images = caller.get(f"{BASE}/images").json["images"]
        return {image["imageId"]: image["isFavorite"] for image in images}

    for value in (True, True):
        answer = change(caller, first, {"isFavorite": value})
        assert (answer.status_code, answer.json["isFavorite"]) == (200, True)
    assert hearts() == {f"img_{first}": True, f"img_{second}": False}
    stranger = shop.caller("pixola", "free")
    assert change(stranger, first, {"isFavorite": False}).status_code == 404
    assert hearts()[f"img_{first}"] is True
    assert change(caller, first, {"isFavorite": False}).json["isFavorite"] is False
    assert hearts() == {f"img_{first}": False, f"img_{second}": False}
    for body in ({}, {"isFavorite": None}, {"isFavorite": 1}, {"isFavorite": "yes"}):
        refused = change(caller, first, body)
        assert refused.status_code == 400
        assert refused.json["error"]["fields"][0]["field"] == "isFavorite"


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("a cat", "A cat"),
        ("  ein   Ölbild\n", "Ein Ölbild"),
        ("a " * 40, f"{('A ' + 'a ' * 29).strip()}…"),
        ("b" * 80, f"B{'b' * 59}…"),
    ],
)
def test_a_title_is_the_beginning_of_a_prompt(prompt: str, title: str) -> None:
    assert title_of(prompt) == title
    assert len(title_of(prompt)) <= 61
