"""The API dies, PostgreSQL is away or hangs, a customer's receiver is down: what is promised."""

from __future__ import annotations

import http.client
import time
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from farm import messages
from farm.crash_points import ANSWER, Effect
from farm.webhooks import endpoints
from tests.api.pictures import picture
from tests.farm.webhooks.receiver import Message
from tests.faults.trial.farm import LEASE_S, QUICK
from tests.faults.trial.oracle import call
from tests.faults.trial.wires import SOFT_S, Wired
from tests.flows.orders import ORDERS, PLANS, bearer
from tests.processes import wait_until

AWAY_WITHIN_S = 2.0
"""A submit is told within this that the database is away."""
SILENT_WITHIN_S = 5.0
"""And within this where nothing says so; a busy machine included."""
RUN_AGAIN_WITHIN_S = float(QUICK["FARM_RERING_AFTER_S"]) + float(QUICK["FARM_SWEEP_EVERY_S"])
SLACK_S = 5.0
"""A busy machine, and the run itself."""
PATH = "/v1/image/generate"
BODY = {"prompt": "a red circle", "model": "sdxl"}

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("faults-wires")]


# -- The API is killed -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "is_made"),
    [(Effect.SUBMIT.before, False), (Effect.SUBMIT.after, True), (ANSWER, True)],
)
def test_a_request_whose_process_died_is_repeated_and_makes_one_job(
    wired: Wired, point: str, is_made: bool
) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    wired.farm.armoury.arm("api", point)
    with pytest.raises((OSError, http.client.HTTPException)):
        call(wired.farm, wired.who, "POST", PATH, BODY, headers)
    made = _jobs(wired)
    assert len(made) == is_made
    if is_made:
        # It runs although nobody rang for it, or knows of it: that much late at most.
        wired.until(
            "SELECT state = 'succeeded' FROM jobs WHERE id = :id",
            timeout_s=RUN_AGAIN_WITHIN_S + SLACK_S,
            id=made[0],
        )
    again = [
        wired.insist(lambda: call(wired.farm, wired.who, "POST", PATH, BODY, headers))
        for _ in range(2)
    ]
    assert {answer["generation_id"] for answer in again} == {str(job) for job in _jobs(wired)}
    wired.noted(again[0])
    wired.ended_well()


# -- PostgreSQL is away ------------------------------------------------------------------


def test_while_postgresql_is_away_submits_are_told_at_once_and_a_run_goes_on(wired: Wired) -> None:
    farm, submits = wired.farm, list(_submits(wired))
    assert farm.postgres is not None
    job = wired.oracle.submit(f"run={1.2 * LEASE_S} steps=20")
    queued = [wired.oracle.submit() for _ in range(2)]
    wired.started(job)
    farm.postgres.stop()
    for told in submits:
        started = time.monotonic()
        answer = told()
        took_s = time.monotonic() - started
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "2"), answer.text
        assert took_s < AWAY_WITHIN_S, f"{answer.url}: {took_s:.1f} s"
    # The run ends, longer ago than its lease lasts; its time is over, and its result still waits.
    wait_until(lambda: ("end", job) in _told(wired), 20, lambda: f"{job} runs on\n{farm.logs()}")
    over = f"Soft time limit ({SOFT_S}s) exceeded for {messages.GENERATE}"
    wait_until(lambda: over in farm.keeper.process("worker").output(), 20, farm.logs)
    farm.postgres.start()
    farm.services.db.dispose()
    for each in (job, *queued):
        wired.ends(each, "succeeded")
    assert wired.value("SELECT attempt FROM jobs WHERE id = :id", id=job) == 1, "it ran again"
    wired.ended_well()


def test_a_postgresql_that_crashes_forgets_nothing_that_was_acknowledged(wired: Wired) -> None:
    farm = wired.farm
    assert farm.postgres is not None
    running = wired.oracle.submit("run=1 steps=20")
    wired.started(running)
    with ThreadPoolExecutor(4) as clients:
        submitting = [clients.submit(wired.oracle.submit) for _ in range(12)]
        farm.postgres.kill()
        farm.postgres.start()
        for one in submitting:
            one.result()
    wired.ended_well()


def test_a_postgresql_that_says_nothing_takes_no_thread_for_long(wired: Wired) -> None:
    """As many ask at once as the API has threads, and then another one."""
    threads = int(QUICK["FARM_WEB_THREADS"])
    running = wired.oracle.submit("run=1 steps=20")
    wired.started(running)
    wired.way.postgres.silence()
    with ThreadPoolExecutor(threads) as clients:
        first = list(clients.map(lambda _: _timed(wired), range(threads)))
    code, took_s = _timed(wired)
    assert {code, *(answered for answered, _ in first)} == {503}
    assert max(took for _, took in first) < SILENT_WITHIN_S
    assert took_s < AWAY_WITHIN_S, "it is known by now that nobody answers"
    wired.way.postgres.heal()
    wait_until(lambda: _timed(wired)[0] == 200, 20, "the API to find PostgreSQL again")
    wired.ended_well()


def test_a_slow_network_to_both_servers_changes_no_ends(wired: Wired) -> None:
    wired.way.postgres.latency_s = wired.way.redis.latency_s = 0.1
    wired.oracle.submit("fail=error times=1")
    wired.oracle.submit("fail=wrong")
    wired.oracle.submit()
    wired.oracle.quiet()
    wired.ended_well()


def test_a_network_that_swallows_everything_for_a_while_changes_no_ends(wired: Wired) -> None:
    """Connections stay open that lead nowhere, to both servers, while jobs run and wait."""
    running = wired.oracle.submit("run=1 steps=20")
    for _ in range(3):
        wired.oracle.submit()
    wired.started(running)
    wired.way.postgres.silence()
    wired.way.redis.silence()
    time.sleep(LEASE_S)
    wired.ended_well()


# -- A customer's receiver ---------------------------------------------------------------


def test_a_receiver_that_was_down_is_told_on_schedule_and_when_it_asks(wired: Wired) -> None:
    path, came = _receiver(wired)
    wired.to_receiver.refuse()
    job = wired.oracle.submit(webhook_url=f"http://127.0.0.1:{wired.to_receiver.port}{path}")
    wired.ends(job, "succeeded")
    delivery = wired.until("SELECT id FROM webhook_deliveries WHERE job_id = :job", job=job)
    waits = []
    for tries in (1, 2):
        _next_try(wired, delivery)
        waits.append(_wait_after(wired, delivery, tries))
    # The schedule's 5 s and 5 min, a tenth more or less.
    assert [4 < waits[0] < 6, 260 < waits[1] < 340] == [True, True], waits
    assert wired.value("SELECT state FROM jobs WHERE id = :id", id=job) == "succeeded"
    wired.to_receiver.heal()
    wired.call(wired.who, "POST", f"/v1/account/webhooks/deliveries/msg_{delivery.hex}/replay")
    wait_until(came, 20, lambda: f"nothing came\n{wired.farm.logs()}")
    _is_one_message(came(), 1)
    wired.ended_well()


def test_a_sender_that_dies_after_a_post_sends_the_same_message_again(wired: Wired) -> None:
    path, came = _receiver(wired)
    wired.farm.armoury.arm("control", Effect.WEBHOOK_POST.after)
    job = wired.oracle.submit(webhook_url=f"http://127.0.0.1:{wired.to_receiver.port}{path}")
    wait_until(
        lambda: wired.farm.armoury.fired("control", Effect.WEBHOOK_POST.after), 30, wired.farm.logs
    )
    # Who sent is dead: the time is over for which that keeps others off.
    wired.execute("UPDATE leases SET until = now() WHERE name = 'webhooks'")
    wired.execute("UPDATE webhook_deliveries SET lease_until = now() WHERE job_id = :job", job=job)
    wired.until("SELECT state = 'delivered' FROM webhook_deliveries WHERE job_id = :job", job=job)
    _is_one_message(came(), 2)
    wired.ended_well()


# -- Parts of the tests ------------------------------------------------------------------


def _jobs(wired: Wired) -> list[uuid.UUID]:
    """The jobs of this test's customer."""
    found = wired.value(
        "SELECT array_agg(id) FROM jobs WHERE account_id = :id", id=wired.who.account_id
    )
    return list(found or ())


def _told(wired: Wired) -> set[tuple[str, str]]:
    """What the engine did of which job."""
    return {(what, job) for what, job, _, _ in wired.farm.runs()}


def _submits(wired: Wired) -> Iterator[Callable[[], requests.Response]]:
    """One submit of each kind and storefront, to be called."""
    base = f"http://127.0.0.1:{wired.farm.api_port}"

    def post(path: str, key: str, **more: Any) -> Callable[[], requests.Response]:
        headers = {"Authorization": f"Bearer {key}", **more.pop("headers", {})}
        return lambda: requests.post(f"{base}{path}", headers=headers, timeout=30, **more)

    again = {"Idempotency-Key": str(uuid.uuid4())}
    yield post(PATH, wired.who.key, json=BODY)
    yield post(PATH, wired.who.key, json=BODY, headers=again)
    yield post(
        "/v1/image/remove-background",
        wired.who.key,
        files={"image": ("a.png", picture(width=64, height=48))},
    )
    for storefront, plan in PLANS.items():
        order = next(iter(ORDERS[storefront].values()))
        who = wired.customer(storefront, plan)
        # Known by now to the API, so that it is the submit that finds the database away.
        requests.get(f"{base}/v1/models", headers=bearer(who), timeout=30)
        yield post(order.path, who.key, json=order.body, headers=order.headers)


def _timed(wired: Wired) -> tuple[int, float]:
    """The status that a submit is answered with, and after how many seconds."""
    started = time.monotonic()
    try:
        wired.noted(call(wired.farm, wired.who, "POST", PATH, BODY))
    except urllib.error.HTTPError as error:
        return error.code, time.monotonic() - started
    return 200, time.monotonic() - started


def _receiver(wired: Wired) -> tuple[str, Callable[[], list[Message]]]:
    """A path of the customer's receiver, and what came there. It knows the account's secret."""
    path = f"/{uuid.uuid4()}"
    db, account = wired.farm.services.db, wired.who.account_id
    endpoint = endpoints.default_endpoint(db, account)
    [secret] = endpoints.secrets_in_force(db, endpoint.id)
    wired.receiver.secrets[path] = secret
    return path, lambda: [one for one in wired.receiver.messages if one.path == path]


def _is_one_message(came: list[Message], times: int) -> None:
    assert len(came) == times
    assert len({message.id for message in came}) == 1
    assert all(message.verified for message in came)


def _next_try(wired: Wired, delivery: uuid.UUID) -> None:
    """Let the time of the next try have come."""
    wired.execute(
        "UPDATE webhook_deliveries SET next_at = now() WHERE id = :id AND tries > 0", id=delivery
    )


def _wait_after(wired: Wired, delivery: uuid.UUID, tries: int) -> float:
    """Seconds from so many tries to the next one, once there were that many."""
    wired.until(
        "SELECT tries >= :tries AND lease_until IS NULL FROM webhook_deliveries WHERE id = :id",
        id=delivery,
        tries=tries,
    )
    return float(
        wired.value(
            "SELECT extract(epoch FROM d.next_at - max(t.at)) FROM webhook_deliveries d "
            "JOIN webhook_tries t ON t.delivery_id = d.id WHERE d.id = :id GROUP BY d.id",
            id=delivery,
        )
    )
