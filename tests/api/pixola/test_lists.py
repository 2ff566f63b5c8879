"""The lists of batches and images: newest first, in pages that do not move."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from farm.batches import submit_batch
from farm.types import JobRequest
from tests import factories
from tests.api.caller import Caller
from tests.contracts.storefront import Shop

BASE = "/pixola/api/v1"
IMAGES = 250
Name = dict[str, str]
KEYS = {"images": "imageId", "batches": "batchId"}


def submit(caller: Caller, count: int) -> None:
    """A batch of this account, without the API and its limits."""
    request = JobRequest("flux-schnell", "generate", {"prompt": "a cat"})
    submit_batch(caller.services, caller.customer.principal, [request] * count)


@pytest.fixture(scope="module")
def full(shop: Shop) -> Caller:
    """A customer with 250 images in 100 batches."""
    who = factories.customer(shop.services, storefront="pixola", plan="studio", extra_credits=5000)
    caller = Caller(shop.app, shop.services, who)
    for count in (1, 2, 3, 4) * (IMAGES // 10):
        submit(caller, count)
    return caller


def pages(caller: Caller, what: str, limit: int) -> Iterator[list[str]]:
    """The ids of every page, as a client walks them."""
    cursor = ""
    while True:
        answer = caller.get(f"{BASE}/{what}?limit={limit}&cursor={cursor}").json
        assert set(answer) == {what, "nextCursor", "hasMore"}
        yield [row[KEYS[what]] for row in answer[what]]
        assert answer["hasMore"] is (answer["nextCursor"] is not None)
        if not answer["hasMore"]:
            return
        cursor = answer["nextCursor"]
        assert isinstance(cursor, int)


@pytest.mark.parametrize("what", ["images", "batches"])
def test_walking_all_pages_shows_every_row_once_while_new_ones_arrive(
    full: Caller, what: str
) -> None:
    known = [row for page in pages(full, what, 100) for row in page]
    stop = threading.Event()

    def arrive() -> None:
        for number in range(40):
            if stop.is_set():
                return
            submit(full, 1 + number % 4)

    newcomers = threading.Thread(target=arrive)
    newcomers.start()
    try:
        walked = [row for page in pages(full, what, 7) for row in page]
    finally:
        stop.set()
        newcomers.join()
    assert len(walked) == len(set(walked)), "a row was shown twice"
    assert walked[-len(known) :] == known, "a row was left out, or moved"


def test_pages_are_as_long_as_asked_for(full: Caller) -> None:
    for limit in (1, 100):
        sizes = [len(page) for page, _ in zip(pages(full, "images", limit), range(3), strict=False)]
        assert set(sizes[:-1]) == {limit}
    assert len(full.get(f"{BASE}/images").json["images"]) == 50
    assert len(full.get(f"{BASE}/batches").json["batches"]) == 20


def test_a_batch_is_told_with_all_its_images(full: Caller) -> None:
    answer = full.get(f"{BASE}/batches?limit=40").json["batches"]
    counts = [batch["imageCount"] for batch in answer]
    assert set(counts) == {1, 2, 3, 4}
    for batch in answer[:8]:
        images = full.get(f"{BASE}/batches/{batch['batchId']}").json["images"]
        assert len(images) == batch["imageCount"]
    assert set(answer[0]) == {
        *("batchId", "status", "prompt", "quality", "imageCount", "createdAt"),
    }


def test_a_cursor_within_a_batch_leaves_no_image_of_another_batch_out(full: Caller) -> None:
    """Nobody is given such a cursor; whoever makes one up is told no wrong count."""
    counts = {b["batchId"]: b["imageCount"] for b in full.get(f"{BASE}/batches").json["batches"]}
    newest = full.get(f"{BASE}/images?limit=1").json["nextCursor"]
    for cursor in range(newest - 12, newest + 1):
        for batch in full.get(f"{BASE}/batches?limit=2&cursor={cursor}").json["batches"]:
            assert batch["imageCount"] == counts.get(batch["batchId"], batch["imageCount"])


def test_images_of_one_batch(shop: Shop, full: Caller) -> None:
    batches = full.get(f"{BASE}/batches?limit=100").json["batches"]
    batch = next(b for b in batches if b["imageCount"] == 4)
    query = f"{BASE}/images?batchId={batch['batchId']}"
    images = full.get(query).json
    assert [image["batchId"] for image in images["images"]] == [batch["batchId"]] * 4
    assert (images["nextCursor"], images["hasMore"]) == (None, False)
    first = full.get(f"{query}&limit=3").json
    assert (len(first["images"]), first["hasMore"]) == (3, True)
    last = full.get(f"{query}&limit=3&cursor={first['nextCursor']}").json
    assert [*first["images"], *last["images"]] == images["images"]
    assert last["hasMore"] is False
    stranger = shop.caller("pixola", "free")
    nobodys = "batch_4d28614e-8ded-4108-91af-4116728f4eb5"
    for who, batch_id in ((stranger, batch["batchId"]), (full, nobodys)):
        answer = who.get(f"{BASE}/images?batchId={batch_id}")
        assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found")


def test_a_cursor_of_another_account_is_only_a_number(shop: Shop, full: Caller) -> None:
    theirs = {row for page in pages(full, "images", 100) for row in page}
    cursor = full.get(f"{BASE}/images?limit=1").json["nextCursor"]
    stranger = shop.caller("pixola", "free")
    for _ in range(2):
        submit(stranger, 2)
    for what in KEYS:
        shown = stranger.get(f"{BASE}/{what}?cursor={cursor}").json[what]
        assert len(shown) == {"images": 4, "batches": 2}[what]
        assert not theirs & {row.get("imageId") for row in shown}


def test_an_account_without_jobs_has_empty_lists(shop: Shop) -> None:
    caller = shop.caller("pixola", "free")
    for what in KEYS:
        assert caller.get(f"{BASE}/{what}").json == {
            what: [],
            "nextCursor": None,
            "hasMore": False,
        }


BAD: list[tuple[str, Callable[[], str]]] = [
    ("cursor", lambda: "-1"),
    ("cursor", lambda: "0"),
    ("cursor", lambda: str(2**63)),
    ("cursor", lambda: "9" * 4000),
    ("cursor", lambda: "abc"),
    ("cursor", lambda: "1.5"),
    ("cursor", lambda: "%D9%A3"),
    ("cursor", lambda: "%00"),
    ("limit", lambda: "0"),
    ("limit", lambda: "101"),
    ("limit", lambda: "-5"),
    ("limit", lambda: "many"),
    ("batchId", lambda: "abc"),
    ("batchId", lambda: "img_4d28614e-8ded-4108-91af-4116728f4eb5"),
]


def test_a_page_that_cannot_be_is_refused_by_name(full: Caller) -> None:
    for field, value in BAD:
        for what in ("images",) if field == "batchId" else KEYS:
            answer: Any = full.get(f"{BASE}/{what}?{field}={value()}")
            assert answer.status_code == 400, (field, value(), answer.text)
            assert answer.json["error"]["code"] == "bad_request"
            assert [p["field"] for p in answer.json["error"]["fields"]] == [field]
    both = full.get(f"{BASE}/batches?cursor=x&limit=x").json["error"]["fields"]
    assert {problem["field"] for problem in both} == {"cursor", "limit"}


def test_the_last_cursor_there_may_be_shows_the_first_page(full: Caller) -> None:
    for what in KEYS:
        first = full.get(f"{BASE}/{what}?limit=3").json
        assert full.get(f"{BASE}/{what}?limit=3&cursor={2**63 - 1}").json == first
        assert full.get(f"{BASE}/{what}?limit=3&cursor=1").json[what] == []
