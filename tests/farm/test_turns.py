"""Whose job is next: within a queue and a priority, accounts take turns."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from farm import jobs, settle
from farm.services import Services, build_services
from farm.types import Claim
from tests import factories
from tests.factories import Customer
from tests.farm.checks import assert_books_balance, run, scalar
from tests.processes import wait_until


@pytest.fixture
def who(services: Services) -> tuple[Customer, Customer]:
    """Two customers of the same plan, with credits for many jobs."""
    return factories.customer(services, plan="pro"), factories.customer(services, plan="pro")


def queue(services: Services, customer: Customer, number: int = 1) -> list[uuid.UUID]:
    """That many jobs of a customer, one after another."""
    return [factories.submitted(services, customer) for _ in range(number)]


def served(services: Services) -> Claim | None:
    """The job that one message leads to, whichever job the message was sent for."""
    any_job = scalar(services, "SELECT id FROM jobs ORDER BY created_at LIMIT 1")
    return jobs.claim(services.db, any_job, "worker", 30.0, 3)


def turns(services: Services, number: int, *names: Customer) -> str:
    """Whose jobs the next messages lead to: ``a`` for the first customer, then ``b``."""
    letters = {customer.account_id: letter for customer, letter in zip(names, "abc", strict=False)}
    claims = [served(services) for _ in range(number)]
    return "".join(letters[claim.account_id] if claim else "-" for claim in claims)


def lapse(services: Services, job_id: uuid.UUID) -> None:
    """Let the job's worker have died."""
    run(services, "UPDATE jobs SET lease_until = now() WHERE id = :id", id=job_id)


def test_who_comes_now_and_then_waits_for_a_job_or_two_of_any_backlog(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    heavy, light = who
    queue(services, heavy, 100)
    assert turns(services, 3, heavy, light) == "aaa"
    for _ in range(8):
        queue(services, light)
        order = turns(services, 3, heavy, light)
        assert order.count("b") == 1, f"after three jobs: {order}"
    # All at once is no worse for the other, and no better for oneself.
    queue(services, light, 4)
    assert turns(services, 8, heavy, light) in {"abababab", "babababa"}
    assert turns(services, 4, heavy, light) == "aaaa"


def test_two_backlogs_are_served_in_turns_whoever_came_first(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    first, second = who
    queue(services, first, 30)
    assert turns(services, 5, first, second) == "aaaaa"
    queue(services, second, 20)
    order = turns(services, 40, first, second)
    assert Counter(order) == {"a": 20, "b": 20}
    for n in range(2, 41, 2):
        assert abs(order[:n].count("a") - n // 2) <= 1, order
    assert turns(services, 6, first, second) == "aaaaa-"


def test_nobody_pays_for_a_past_in_which_nobody_waited(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    busy, other = who
    queue(services, busy, 30)
    for _ in range(30):
        claim = served(services)
        assert claim is not None
        assert factories.succeed(services, claim)
    queue(services, other, 15)
    queue(services, busy)
    assert "a" in turns(services, 3, busy, other)
    # Nor for jobs that it took back, nor for another priority's longer past.
    for job_id in queue(services, busy, 30):
        settle.cancel(services.db, busy.account_id, job_id)
    queue(services, busy)
    assert "a" in turns(services, 3, busy, other)
    run(services, "UPDATE accounts SET turns = jsonb_build_object('gpu.sdxl', 1000000)")
    queue(services, busy)
    assert "a" in turns(services, 5, busy, other)


def test_those_who_come_again_at_once_do_not_hold_up_a_backlog(services: Services) -> None:
    heavy, *light = (factories.customer(services, plan="pro") for _ in range(4))
    queue(services, heavy, 10)
    for customer in light:
        queue(services, customer)
    mine = 0
    for _ in range(20):
        claim = served(services)
        assert claim is not None
        settle.cancel(services.db, None, claim.job_id)
        mine += claim.account_id == heavy.account_id
        again = [one for one in light if one.account_id == claim.account_id]
        for customer in again:
            queue(services, customer)
    assert mine in (5, 6)


def test_a_job_that_comes_back_keeps_its_turn(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    heavy, light = who
    queue(services, heavy, 5)
    for again in ("retry", "hand back", "reap"):
        claim = served(services)
        assert claim is not None
        if again == "retry":
            factories.fail(services, claim, retry=True)
        elif again == "hand back":
            assert jobs.hand_back(services.db, claim.job_id, claim.attempt)
        else:
            lapse(services, claim.job_id)
            assert len(settle.reap(services.db, 3).rings) == 1
        queue(services, light)
        second = served(services)
        assert second is not None
        assert second.job_id == claim.job_id, again
        settle.cancel(services.db, None, claim.job_id)
        assert "b" in turns(services, 2, heavy, light)


def test_larger_plans_come_first_however_long_others_wait(services: Services) -> None:
    plans = ("free", "pro", "scale")
    customers = [factories.customer(services, plan=plan, extra_credits=100) for plan in plans]
    for customer in customers:
        queue(services, customer, 2)
    assert turns(services, 7, *customers) == "ccbbaa-"


def test_a_message_of_an_ended_or_running_job_is_a_turn_of_its_queue(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    heavy, light = who
    first, second, third = queue(services, heavy, 3)
    settle.cancel(services.db, None, first)
    claim = jobs.claim(services.db, first, "worker", 30.0, 3)
    assert claim is not None
    assert claim.job_id == second
    # Its own job, where the lease ran out, whoever else waits.
    queue(services, light)
    lapse(services, second)
    taken_over = jobs.claim(services.db, second, "other", 30.0, 3)
    assert taken_over is not None
    assert (taken_over.job_id, taken_over.attempt) == (second, 2)
    again = jobs.claim(services.db, second, "other", 30.0, 3)
    assert again is not None
    assert again.job_id != second
    # A message that cannot be served is somebody's turn as well.
    jobs.leave_to_sweeper(services.db, second)
    assert scalar(services, "SELECT count(*) FROM jobs WHERE rung_at IS NULL") == 1
    assert scalar(services, "SELECT state FROM jobs WHERE rung_at IS NULL") == "queued"
    assert third != second


def test_a_job_whose_inputs_are_not_there_holds_nobody_up_and_then_goes_first(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    heavy, light = who
    waiting, *_ = queue(services, heavy, 5)
    run(services, "UPDATE jobs SET ready = false WHERE id = :id", id=waiting)
    assert turns(services, 2, heavy, light) == "aa"
    queue(services, light)
    run(services, "UPDATE jobs SET ready = true WHERE id = :id", id=waiting)
    claim = served(services)
    assert claim is not None
    assert claim.job_id == waiting
    # Its old turn is not where newcomers begin.
    queue(services, light, 3)
    assert turns(services, 6, heavy, light).count("b") == 4


def test_claims_at_once_take_each_job_once_and_all_of_them(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    made = [job_id for customer in who for job_id in queue(services, customer, 15)]
    many = build_services(
        services.settings.model_copy(update={"db_pool_size": 12, "db_timeout_s": 30.0})
    )

    def worker(number: int) -> list[uuid.UUID]:
        found = []
        while claim := jobs.claim(many.db, made[0], f"w{number}", 30.0, 3):
            found.append(claim.job_id)
        return found

    with ThreadPoolExecutor(12) as pool:
        claimed = [job_id for found in pool.map(worker, range(12)) for job_id in found]
    many.dispose()
    assert sorted(claimed) == sorted(made)
    assert_books_balance(services)


def test_a_job_that_somebody_looks_at_for_a_moment_is_not_passed_over_if_it_is_the_last(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    first, last = queue(services, who[0], 2)
    with ThreadPoolExecutor(1) as pool:
        with services.db.transaction() as sweeper:
            sweeper.execute(text("UPDATE jobs SET rung_at = now()"))
            asked = pool.submit(jobs.claim, services.db, last, "w", 30.0, 3)
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'"
            wait_until(lambda: scalar(services, waits), 10, "nobody waits for the lock")
        claim = asked.result(timeout=10)
    assert claim is not None
    assert claim.job_id == first


@pytest.mark.parametrize("seed", [1, 2])
def test_those_who_wait_all_the_time_are_served_alike(services: Services, seed: int) -> None:
    """Any order of submits, ends and retries: whoever has jobs waiting from one moment to
    another is served as often, give or take two, as anybody else who has."""
    draw = random.Random(seed)
    customers = [factories.customer(services, plan="pro") for _ in range(3)]
    waited: Counter[uuid.UUID] = Counter()
    services_had: list[tuple[uuid.UUID, frozenset[uuid.UUID]]] = []
    for _ in range(150):
        if draw.random() < 0.5 or not waited:
            customer = draw.choice(customers)
            number = draw.choice((1, 1, 5))
            queue(services, customer, number)
            waited[customer.account_id] += number
            continue
        waiting = frozenset(waited)
        claim = served(services)
        assert claim is not None
        services_had.append((claim.account_id, waiting))
        if draw.random() < 0.2:
            assert jobs.hand_back(services.db, claim.job_id, claim.attempt)
            services_had.pop()
            continue
        waited = Counter({k: n for k, n in (waited - Counter([claim.account_id])).items() if n})
        if draw.random() < 0.5:
            settle.cancel(services.db, None, claim.job_id)
    assert widest_gap(services_had, [c.account_id for c in customers]) <= 2
    assert_books_balance(services)


def widest_gap(
    had: Sequence[tuple[uuid.UUID, frozenset[uuid.UUID]]], accounts: Sequence[uuid.UUID]
) -> int:
    """The largest difference between two accounts' services while both had jobs waiting."""
    widest = 0
    for one in accounts:
        for other in accounts:
            ahead = 0
            for served_account, waiting in had:
                if one not in waiting or other not in waiting:
                    ahead = 0
                    continue
                ahead += (served_account == one) - (served_account == other)
                # The interval that began where `one` was furthest behind.
                ahead = max(ahead, 0)
                widest = max(widest, ahead)
    return widest


def test_the_head_of_a_long_line_is_found_without_reading_the_line(
    services: Services, who: tuple[Customer, Customer]
) -> None:
    queue(services, who[0], 5)
    with services.db.statement() as connection:
        plan = connection.execute(
            text(f"EXPLAIN {jobs._CLAIM.text}"),
            {
                "id": uuid.uuid4(),
                "worker": "w",
                "lease_s": 1,
                "attempts_max": 3,
                "deaths_max": 2,
            },
        ).scalars()
        assert "jobs_turns" in "\n".join(plan)
