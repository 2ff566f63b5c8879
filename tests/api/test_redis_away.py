"""Every kind of call of all four storefronts while Redis is away: no error, and no wait for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.waiting.feed import ANSWER_WITHIN_S, PING_EVERY_S
from farm.config import Settings
from farm.embedded import start_redis
from tests import factories
from tests.api import (
    test_storefronts_pixapi,
    test_storefronts_pixelapi,
    test_storefronts_pixza,
)
from tests.api.pixola import test_contract as test_storefronts_pixola
from tests.api.web import Web, web_process
from tests.contracts.storefront import StorefrontContract
from tests.farm.checks import assert_books_balance, scalar
from tests.faults.trial.proxy import Proxy

WITHIN_S = 1.5
"""A second, and something for a machine that does other things."""
SUBMITS = 20

SHOPS: tuple[StorefrontContract, ...] = (
    test_storefronts_pixelapi.TestPixelapi(),
    test_storefronts_pixapi.TestPixapi(),
    test_storefronts_pixola.TestPixola(),
    test_storefronts_pixza.TestPixza(),
)
PROBES = ("/healthz", "/readyz", "/metrics", "/docs", "/v1/models", "/pixza/api/v1/models")


@pytest.fixture
def away(settings: Settings, servers_folder: Path, tmp_path: Path) -> Iterator[tuple[Web, Proxy]]:
    """A web process that knew its Redis, and the way to it."""
    folder = servers_folder / "away"
    with start_redis(folder), Proxy(next(folder.rglob("redis.sock"))) as way:
        url = f"redis://127.0.0.1:{way.port}/0"
        changed = settings.model_copy(update={"broker_url": url})
        with web_process(changed, url, tmp_path, FARM_PIXZA_WAIT_S="0") as web:
            yield web, way


def raw(web: Web, who: factories.Customer, method: str, path: str, body: Any = None) -> int:
    """The status of a call, which was answered in time and with no error of the farm's."""
    started = time.monotonic()
    with contextlib.closing(web.sent(who, path, method, body)) as connection:
        answer = connection.getresponse()
        answer.read()
        seconds = time.monotonic() - started
    assert seconds < WITHIN_S, f"{method} {path} took {seconds:.2f} s"
    # Not ready is what /readyz is there to say.
    assert answer.status < 500 or path == "/readyz", f"{method} {path}: {answer.status}"
    return answer.status


def call_everything(web: Web, shop: StorefrontContract) -> None:
    """A customer of a storefront submits, polls, looks around, makes mistakes, cancels."""
    who = factories.customer(web.services, storefront=shop.storefront, plan=shop.plan)
    status, _, answer = web.post(who, shop.submit_path, shop.body)
    assert status == 200, answer
    assert raw(web, who, "GET", shop.poll_path.format(id=shop.id_of(answer))) == 200
    for method, path in shop.private_paths:
        raw(web, who, method, path, None if method == "GET" else {})
    assert raw(web, who, "POST", shop.submit_path, {}) in (400, 422)
    account = {"id": who.account_id}
    job_id = scalar(web.services, "SELECT id FROM jobs WHERE account_id = :id LIMIT 1", **account)
    # Two of the storefronts have these paths; in the others they are nobody's.
    for method, path in (("GET", ""), ("POST", "/cancel")):
        assert raw(web, who, method, f"/v1/jobs/{job_id}{path}") in (200, 404)
    assert raw(web, who, "GET", "/v1/account/webhooks") in (200, 404)
    for path in PROBES:
        raw(web, who, "GET", path)


def submit_often(web: Web) -> None:
    """Once Redis is known to be away, nobody pays for asking it."""
    shop = SHOPS[0]
    who = factories.customer(web.services, storefront=shop.storefront, plan=shop.plan)
    started = time.monotonic()
    for _ in range(SUBMITS):
        assert raw(web, who, "POST", shop.submit_path, shop.body) == 200
    assert time.monotonic() - started < SUBMITS * 0.2


def wait_and_watch(web: Web, within_s: float) -> None:
    """Who waits for a job or watches it hears of its end from the database."""
    who = factories.customer(web.services, plan="scale")
    claim = factories.claimed(web.services, factories.submitted(web.services, who))
    with ThreadPoolExecutor(1) as pool, web.watch(who, claim.job_id) as stream:
        wait = pool.submit(web.call, who, f"/v1/jobs/{claim.job_id}?wait=30")
        events = stream.events()
        assert next(events)[2]["status"] == "processing"
        ended = time.monotonic()
        assert factories.succeed(web.services, claim)
        assert [data["status"] for _, _, data in events][-1] == "completed"
        assert wait.result(20)[2]["status"] == "completed"
        assert time.monotonic() - ended < within_s


def overspend(web: Web) -> None:
    """Ten credits buy three pictures of three, however many ask at once."""
    who = factories.customer(web.services)
    with ThreadPoolExecutor(3) as pool:
        bodies = [SHOPS[0].body] * 5
        codes = list(pool.map(lambda b: web.post(who, SHOPS[0].submit_path, b)[0], bodies))
    assert sorted(codes) == [200, 200, 200, 402, 402]


def test_nobody_waits_or_fails_for_want_of_redis(away: tuple[Web, Proxy]) -> None:
    web, way = away
    submit_often(web)
    # It looks every second; but it takes a while until silence is known for what it is.
    found_out_s = PING_EVERY_S + ANSWER_WITHIN_S
    for go_away, within_s in ((way.silence, found_out_s + 3.0), (way.refuse, 3.0)):
        go_away()
        for shop in SHOPS:
            call_everything(web, shop)
        submit_often(web)
        overspend(web)
        wait_and_watch(web, within_s)
    assert_books_balance(web.services)
