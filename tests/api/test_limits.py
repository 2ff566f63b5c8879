"""Rate limits: exact per plan, told on every response, and never an error of their own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response

from api import limits
from api.app import create_app, runtime_of
from api.daycounts import AHEAD_MAX, DAY_S, DayCounts
from api.limits import CountingStorage
from api.rates import Leases, Rate
from api.request import FarmRequest, current_request
from api.runtime import Runtime
from farm import keys
from farm.catalog import BUILT_IN
from farm.config import Settings
from farm.embedded import start_redis
from farm.servers import Server
from tests import factories
from tests.api.caller import GENERATE, Caller
from tests.farm.checks import scalar

pytestmark = pytest.mark.usefixtures("own_app")

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
BALANCE = "/v1/account/balance"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """A Redis that this test may stop."""
    with start_redis(tmp_path / "redis") as server:
        yield server


def test_a_plan_submits_as_often_as_it_may(runtime: Runtime, free_caller: Caller) -> None:
    answers = [free_caller.generate({"prompt": ""}) for _ in range(6)]
    assert [a.status_code for a in answers] == [422] * 5 + [429]
    assert [a.headers["X-RateLimit-Remaining"] for a in answers] == list("432100")
    refused = answers[-1]
    url = runtime.settings.pricing_url
    assert refused.json == {
        "detail": f"Rate limit exceeded for free plan. Upgrade at {url}/pricing"
    }
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert int(refused.headers["X-RateLimit-Reset"]) >= time.time()


def test_who_has_the_largest_plan_is_not_told_to_upgrade(runtime: Runtime, caller: Caller) -> None:
    plan = runtime.services.catalog.storefronts["pixelapi"].plans["scale"]
    answers = [caller.generate({"prompt": ""}) for _ in range(plan.submits_per_minute + 1)]
    told = answers[-1].json["detail"]
    assert told.startswith("Rate limit exceeded for scale plan. 200 a minute. Wait ")


def test_every_key_of_an_account_shares_its_submits(
    app: Flask, runtime: Runtime, free_caller: Caller
) -> None:
    with runtime.services.db.transaction() as connection:
        _, second = keys.create_key(
            connection, runtime.services.catalog, free_caller.customer.account_id
        )
    for _ in range(5):
        free_caller.generate({"prompt": ""})
    headers = {"Authorization": f"Bearer {second}"}
    answer = app.test_client().post(GENERATE, json={"prompt": "a"}, headers=headers)
    assert answer.status_code == 429


def test_polling_does_not_eat_into_the_plan(free_caller: Caller) -> None:
    for _ in range(20):
        answer = free_caller.get(BALANCE)
        assert answer.status_code == 200
    assert answer.headers["X-RateLimit-Limit"] == "600"
    assert answer.headers["X-RateLimit-Remaining"] == "580"
    assert free_caller.generate({"prompt": "a"}).headers["X-RateLimit-Remaining"] == "4"


@pytest.mark.parametrize("with_key", [True, False])
def test_every_response_says_where_one_stands(app: Flask, caller: Caller, with_key: bool) -> None:
    headers = caller.headers if with_key else {}
    for method, path in (
        ("GET", BALANCE),
        ("POST", GENERATE),
        ("PUT", GENERATE),
        ("GET", "/v1/models"),
        ("GET", "/nowhere"),
        ("GET", "/v1/nowhere"),
        ("OPTIONS", "/v1/models"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("GET", "/docs"),
        ("GET", "/outputs/a.png"),
    ):
        response = app.test_client().open(path, method=method, headers=headers)
        for name in HEADERS:
            shown = response.headers.getlist(name, type=int)
            assert len(shown) == 1, (method, path, name)


def test_callers_without_a_key_are_counted_by_address(app: Flask) -> None:
    client = app.test_client()
    codes = {client.get("/v1/models").status_code for _ in range(300)}
    assert codes == {200}
    refused = client.get(BALANCE, headers={"Authorization": "Bearer guess"})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert client.get("/healthz").status_code == 200, "strangers made a health check fail"
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    assert client.get("/v1/models", environ_overrides=elsewhere).status_code == 200


class Counted:
    """An application of one page whose calls are counted, in a bucket and with a limit given."""

    def __init__(self, url: str, window_s: int = 60) -> None:
        self.limiter = limits.build_limiter(url, window_s)
        self.leases = Leases()
        self.app = Flask("counted")
        self.app.request_class = FarmRequest
        self.app.before_request(self._identify)
        self.limiter.init_app(self.app)
        self.app.add_url_rule("/<bucket>/<int:per_minute>", view_func=lambda **_: "ok")
        self.app.after_request(self._tell)

    def hit(self, bucket: str, per_minute: int) -> Rate:
        """One call, and where its caller stands."""
        answer = self.app.test_client().get(f"/{bucket}/{per_minute}")
        rate = Rate(*map(int, answer.headers["X-Rate"].split()))
        assert answer.status_code == (429 if rate.retry_after_s else 200)
        return rate

    def close(self) -> None:
        """Close the connections to Redis."""
        limits.close(self.limiter)

    def _identify(self) -> None:
        arguments = current_request().view_args or {}
        current_request().bucket = arguments["bucket"]
        current_request().per_minute = arguments["per_minute"]

    def _tell(self, response: Response) -> Response:
        response.headers["X-Rate"] = " ".join(map(str, limits.standing(self.limiter, self.leases)))
        return response


def test_concurrent_calls_pass_exactly_as_often_as_the_limit(redis_url: str) -> None:
    counted = Counted(redis_url)
    with ThreadPoolExecutor(16) as pool:
        rates = list(pool.map(lambda _: counted.hit("race", 50), range(200)))
    counted.close()
    assert sum(rate.retry_after_s == 0 for rate in rates) == 50


def test_several_processes_count_together(redis_url: str) -> None:
    one, other = Counted(redis_url), Counted(redis_url)
    passed = [counted.hit("shared", 5).retry_after_s == 0 for counted in [one, other] * 5]
    one.close()
    other.close()
    assert sum(passed) == 5


@pytest.mark.parametrize("where", ["redis", "memory"])
def test_a_refused_caller_may_come_back_when_told(redis_url: str, where: str) -> None:
    counted = Counted(redis_url if where == "redis" else "", window_s=1)
    for _ in range(20):
        rate = counted.hit("again", 3)
        if rate.retry_after_s:
            break
    assert rate.remaining == 0
    assert 1 <= rate.retry_after_s <= 3
    time.sleep(rate.retry_after_s)  # the promise under test is about time itself
    assert counted.hit("again", 3).retry_after_s == 0
    counted.close()


def test_nothing_breaks_while_redis_is_away(settings: Settings, own_redis: Server) -> None:
    app = create_app(settings.model_copy(update={"broker_url": own_redis.url}))
    runtime = runtime_of(app)
    caller = Caller(app, runtime.services, factories.customer(runtime.services))
    try:
        assert caller.get(BALANCE).status_code == 200
        own_redis.stop()
        submitted = caller.generate({"prompt": "a"})
        assert submitted.status_code == 200
        answers = [caller.generate({"prompt": ""}) for _ in range(5)]
        assert [a.status_code for a in answers] == [422] * 4 + [429]
        assert all(name in answer.headers for name in HEADERS for answer in answers)
        own_redis.start()
        deadline = time.monotonic() + 10
        while caller.get(BALANCE).headers["X-RateLimit-Remaining"] != "599":
            assert time.monotonic() < deadline, "the limiter did not come back to Redis"
    finally:
        runtime.close()


def test_calls_that_find_redis_gone_at_the_same_moment_all_pass(
    settings: Settings, own_redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, ask = threading.Barrier(4), CountingStorage.ask

    def ask_together(storage: CountingStorage, *asked: Any) -> list[int]:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(timeout=1)
        return ask(storage, *asked)

    app = create_app(settings.model_copy(update={"broker_url": own_redis.url}))
    runtime = runtime_of(app)
    caller = Caller(app, runtime.services, factories.customer(runtime.services))
    try:
        own_redis.stop()
        monkeypatch.setattr(CountingStorage, "ask", ask_together)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(caller.generate, [{"prompt": ""}] * 4))
        assert [answer.status_code for answer in answers] == [422] * 4
    finally:
        runtime.close()


@pytest.mark.parametrize("redis_is", ["there", "away"])
def test_every_read_below_the_ceiling_passes(
    settings: Settings, tmp_path: Path, redis_is: str
) -> None:
    if redis_is == "away":
        nobody = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
        settings = settings.model_copy(update={"broker_url": nobody})
    app = create_app(settings)
    runtime = runtime_of(app)
    try:
        caller = Caller(app, runtime.services, factories.customer(runtime.services))
        codes = [caller.get(BALANCE).status_code for _ in range(600)]
        assert codes == [200] * 600
    finally:
        runtime.close()


def test_redis_restarted_between_two_calls_is_not_noticed(own_redis: Server) -> None:
    counted = Counted(own_redis.url)
    assert counted.hit("a", 10).remaining == 9
    own_redis.stop()
    own_redis.start()
    assert [counted.hit("a", 10).remaining for _ in range(2)] == [9, 8]
    counted.close()


PIXOLA = "/pixola/api/v1/generate"
MIDNIGHT = 20_000 * DAY_S
"""A day's first second."""


class Day:
    """A clock that stands where it is put."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def three_a_day(settings: Settings, tmp_path: Path) -> Iterator[Flask]:
    """The API where pixola's keys have three requests that create jobs a day."""
    text = BUILT_IN.read_text(encoding="utf-8")
    assert "submits_per_day = 1000" in text
    path = tmp_path / "catalog.toml"
    path.write_text(text.replace("submits_per_day = 1000", "submits_per_day = 3"), "utf-8")
    app = create_app(settings.model_copy(update={"catalog": path}))
    yield app
    runtime_of(app).close()


def pixola_caller(app: Flask) -> Caller:
    """A customer of pixola."""
    services = runtime_of(app).services
    return Caller(app, services, factories.customer(services, storefront="pixola"))


def test_a_key_makes_jobs_as_often_a_day_as_its_plan_says(three_a_day: Flask) -> None:
    caller = pixola_caller(three_a_day)
    services = caller.services
    first = caller.post(PIXOLA, {"prompt": "a"}, Idempotency_Key="first")
    # What makes no job costs the day nothing: refused fields and words, too few credits, and
    # what an earlier request has made already.
    assert caller.post(PIXOLA, {"prompt": ""}).status_code == 400
    assert caller.post(PIXOLA, {"prompt": "forbidden fruit"}).status_code == 409
    for _ in range(2):
        again = caller.post(PIXOLA, {"prompt": "a"}, Idempotency_Key="first")
        assert again.json == first.json
    for _ in range(2):
        assert caller.post(PIXOLA, {"prompt": "a", "count": 2}).status_code == 200
    refused = caller.post(PIXOLA, {"prompt": "a"})
    assert refused.status_code == 429
    assert refused.json["error"]["code"] == "rate_limited"
    assert "3 requests that create jobs" in refused.json["error"]["message"]
    assert 1 <= int(refused.headers["Retry-After"]) <= DAY_S
    assert scalar(services, "SELECT count(*) FROM jobs") == 5
    # A client that lost the answer to its last request still gets it, and another key its own.
    again = caller.post(PIXOLA, {"prompt": "a"}, Idempotency_Key="first")
    assert (again.status_code, again.json) == (200, first.json)
    with services.db.transaction() as connection:
        _, second = keys.create_key(connection, services.catalog, caller.customer.account_id)
    headers = {"Authorization": f"Bearer {second}"}
    answer = three_a_day.test_client().post(PIXOLA, json={"prompt": "a"}, headers=headers)
    assert answer.status_code == 200


def test_too_few_credits_do_not_count_as_a_call_of_the_day(three_a_day: Flask) -> None:
    caller = pixola_caller(three_a_day)
    dear = {"prompt": "a", "model": "gemini-3-pro-image-preview", "quality": "hd", "count": 4}
    assert caller.post(PIXOLA, dear).status_code == 200
    for _ in range(4):
        assert caller.post(PIXOLA, dear).status_code == 409
    codes = [caller.post(PIXOLA, {"prompt": "a"}).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


@pytest.mark.parametrize("where", ["redis", "memory", "away"])
def test_a_day_begins_anew_at_midnight(redis_url: str, tmp_path: Path, where: str) -> None:
    nobody = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
    counted = Counted({"redis": redis_url, "memory": "", "away": nobody}[where])
    clock = Day(MIDNIGHT - 1.5)
    days = DayCounts(counted.limiter, clock)
    assert days.seconds_left() == 2
    taken = [days.take("a", 2), days.take("a", 2)]
    assert days.take("a", 2) is None
    assert days.take("b", 2) is not None
    take_back = taken[0]
    assert take_back is not None
    take_back()
    assert days.take("a", 2) is not None
    assert days.take("a", 2) is None
    clock.now = MIDNIGHT
    assert days.seconds_left() == DAY_S
    assert days.take("a", 2) is not None
    counted.close()


def test_concurrent_calls_of_a_day_pass_exactly_as_often_as_the_limit(redis_url: str) -> None:
    counted = [Counted(redis_url), Counted(redis_url)]
    days = [DayCounts(each.limiter, Day(MIDNIGHT)) for each in counted]
    with ThreadPoolExecutor(8) as pool:
        passed = list(pool.map(lambda n: days[n % 2].take("race", 30) is not None, range(100)))
    for each in counted:
        each.close()
    assert sum(passed) == 30


def test_calls_of_a_day_are_counted_a_few_ahead_and_the_last_ones_by_one(redis_url: str) -> None:
    counted = [Counted(redis_url), Counted(redis_url)]
    one, other = (DayCounts(each.limiter, Day(MIDNIGHT)) for each in counted)
    take_back = other.take("a", 1000)
    assert take_back is not None
    take_back()
    passed = sum(one.take("a", 1000) is not None for _ in range(1001))
    assert 1000 - AHEAD_MAX <= passed < 1000
    # What one process did not get, the other has; and then it is over for both.
    assert sum(other.take("a", 1000) is not None for _ in range(20)) == 1000 - passed
    assert one.take("a", 1000) is None
    for each in counted:
        each.close()


def test_a_day_goes_on_while_redis_is_away(settings: Settings, own_redis: Server) -> None:
    counted = Counted(own_redis.url)
    days = DayCounts(counted.limiter, Day(MIDNIGHT))
    take_back = days.take("a", 1)
    assert take_back is not None
    own_redis.stop()
    assert days.take("a", 1) is not None, "nobody counted here before"
    assert days.take("a", 1) is None
    take_back()
    own_redis.start()
    assert days.take("a", 1) is not None
    counted.close()
