"""How many jobs may wait: an account's and a queue's; and when to come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from farm import caps, settle
from farm.batches import submit_batch
from farm.caps import Backlogs, retry_after_s
from farm.errors import FarmError, InsufficientCredits, QueueFull, TooManyJobs
from farm.services import Services, build_services
from farm.submit import submit
from farm.types import Idempotency
from tests import factories
from tests.contracts.storage import FOREVER_S
from tests.factories import Customer
from tests.farm.checks import assert_books_balance, run, scalar

Cap = Callable[..., None]


@pytest.fixture
def cap(services: Services, monkeypatch: pytest.MonkeyPatch) -> Cap:
    """Set the caps of the largest plan and of every model."""

    def set_caps(*, jobs_max: int = 2000, queue_max: int = 10_000) -> None:
        plans = services.catalog.storefronts["pixelapi"].plans
        monkeypatch.setitem(
            plans, "scale", plans["scale"].model_copy(update={"jobs_max": jobs_max})
        )
        for name, card in list(services.catalog.models.items()):
            small = card.model_copy(update={"queue_max": queue_max})
            monkeypatch.setitem(services.catalog.models, name, small)

    return set_caps


@pytest.fixture
def who(services: Services) -> Customer:
    return factories.customer(services, plan="scale")


@contextmanager
def nothing_made(services: Services) -> Iterator[None]:
    """Whatever is refused inside leaves nothing behind."""
    count = "SELECT count(*) FROM entries"
    before = scalar(services, count)
    yield
    assert scalar(services, count) == before
    assert not list(services.storage.attempts(FOREVER_S))


def test_an_account_has_as_many_live_jobs_as_its_plan_says(
    services: Services, who: Customer, cap: Cap
) -> None:
    cap(jobs_max=4)
    first = submit(services, who.principal, factories.request(), Idempotency("k", b"\1" * 32))
    batch = submit_batch(services, who.principal, [factories.request()] * 2)
    picture = factories.edit(image=factories.picture(), mask=factories.picture())
    with nothing_made(services):
        with pytest.raises(TooManyJobs, match="3 jobs queued or running, and its plan allows 4"):
            submit_batch(services, who.principal, [factories.request()] * 2)
        with pytest.raises(TooManyJobs):
            submit_batch(services, who.principal, [picture] * 2)
    factories.submitted(services, who)
    with nothing_made(services):
        for request in (factories.request(), picture):
            with pytest.raises(TooManyJobs) as refused:
                submit(services, who.principal, request)
            assert 1 <= refused.value.retry_after_s <= 3600
        with pytest.raises(TooManyJobs):
            submit(services, who.principal, factories.request(), Idempotency("new", b"\2" * 32))
        again = submit(services, who.principal, factories.request(), Idempotency("k", b"\1" * 32))
        assert (again.job_id, again.replayed) == (first.job_id, True)
    # A running job is live; one that ended makes room, and others have room of their own.
    claim = factories.claimed(services, batch.id)
    with pytest.raises(TooManyJobs):
        factories.submitted(services, who)
    assert factories.succeed(services, claim)
    factories.submitted(services, who)
    settle.cancel(services.db, who.account_id, first.job_id)
    factories.submitted(services, who)
    with pytest.raises(TooManyJobs):
        factories.submitted(services, who)
    factories.submitted(services, factories.customer(services, plan="scale"))
    assert scalar(services, "SELECT max(live) FROM accounts") == 4
    assert_books_balance(services)


def test_the_cap_of_an_account_is_exact_for_any_number_of_clients(
    services: Services, who: Customer, cap: Cap
) -> None:
    cap(jobs_max=20)
    many = build_services(
        services.settings.model_copy(update={"db_pool_size": 32, "db_timeout_s": 30.0})
    )

    def one(_: int) -> type[FarmError] | None:
        try:
            submit(many, who.principal, factories.request())
        except FarmError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(32) as pool:
        ends = list(pool.map(one, range(64)))
    many.dispose()
    assert ends.count(None) == 20
    assert ends.count(TooManyJobs) == 44
    assert scalar(services, "SELECT live FROM accounts WHERE id = :id", id=who.account_id) == 20
    # Each took a turn of its own, however many came at once.
    assert scalar(services, "SELECT count(DISTINCT turn) FROM jobs") == 20
    assert_books_balance(services)


def test_a_queue_has_as_many_jobs_waiting_as_its_models_card_says(
    services: Services, who: Customer, cap: Cap
) -> None:
    cap(queue_max=3)
    other, poor = (factories.customer(services, plan="scale") for _ in range(2))
    empty = "UPDATE accounts SET posted = 0, grant_left = 0 WHERE id = :id"
    run(services, empty, id=poor.account_id)
    made = [factories.submitted(services, customer) for customer in (who, other)]
    with nothing_made(services), pytest.raises(QueueFull, match="sdxl is in great demand: 2 jobs"):
        submit_batch(services, who.principal, [factories.request()] * 2)
    made.append(factories.submitted(services, other))
    with nothing_made(services):
        for customer in (who, other):
            with pytest.raises(QueueFull):
                factories.submitted(services, customer)
        with pytest.raises(QueueFull):
            submit(services, who.principal, factories.request(), Idempotency("k", b"\1" * 32))
        with pytest.raises(InsufficientCredits):
            factories.submitted(services, poor)
    submit(services, who.principal, factories.request("flux-schnell"))
    # What was accepted is kept; one that runs waits no longer.
    factories.claimed(services, made[0])
    factories.submitted(services, who)
    edits = [
        submit(services, who.principal, factories.edit(image=factories.picture(), mask=mask)).job_id
        for mask in [factories.picture()] * 3
    ]
    with pytest.raises(QueueFull):
        submit(
            services,
            who.principal,
            factories.edit(image=factories.picture(), mask=factories.picture()),
        )
    assert {job_id for job_id, _ in services.storage.attempts(FOREVER_S)} == set(edits)


def test_when_to_come_back_is_as_often_as_jobs_lately_ended(
    services: Services, who: Customer, cap: Cap
) -> None:
    done = [factories.claimed(services, factories.submitted(services, who)) for _ in range(6)]
    for _ in range(2):
        factories.submitted(services, who)
    cap(jobs_max=8, queue_max=2)
    _, slow_s = services.catalog.models["sdxl"].typical_s

    def told(kind: type[TooManyJobs | QueueFull], jobs: int = 1) -> int:
        with pytest.raises(kind) as refused:
            submit_batch(services, who.principal, [factories.request()] * jobs)
        return int(refused.value.retry_after_s)

    assert told(TooManyJobs) == caps.LATELY_S, "nothing has ended, and no worker lives"
    for number in range(2):
        run(
            services,
            "INSERT INTO nodes (name, host, pid, queues, device, memory_bytes, memory_used_bytes, "
            "started_at) VALUES (:name, 'h', 1, '{gpu.sdxl}', 'cpu', 1, 1, now())",
            name=f"w{number}",
        )
    assert told(TooManyJobs) == -(-slow_s // 2)
    assert told(TooManyJobs, jobs=4) == slow_s * 2
    for claim in done:
        assert factories.succeed(services, claim)
    cap(jobs_max=2, queue_max=2)
    assert told(TooManyJobs) == caps.LATELY_S / 6
    cap(queue_max=2)
    assert told(QueueFull, jobs=2) == 2 * caps.LATELY_S / 6
    run(services, "UPDATE jobs SET finished_at = finished_at - interval '1 hour'")
    assert told(QueueFull) == -(-slow_s // 2)


def test_a_retry_after_is_whole_and_bounded() -> None:
    assert [retry_after_s(s) for s in (0, 0.2, 1.0, 1.1, 3600, 1e9)] == [1, 1, 1, 2, 3600, 3600]


def test_a_queue_is_counted_once_a_second_and_always_once_it_is_nearly_full() -> None:
    now = [100.0]
    backlogs = Backlogs(lambda: now[0])
    assert backlogs.must_count("a", 10_000)
    backlogs.counted("a", 10)
    assert not backlogs.must_count("a", 10_000)
    assert backlogs.must_count("b", 10_000)
    now[0] += caps.RECOUNT_AFTER_S + 0.1
    assert backlogs.must_count("a", 10_000)
    backlogs.counted("a", 8_998)
    # What this process lets in meanwhile counts too.
    assert [backlogs.must_count("a", 10_000) for _ in range(3)] == [False, False, True]
    backlogs.counted("a", 0)
    assert backlogs.must_count("a", 400), "a small queue is counted every time"
