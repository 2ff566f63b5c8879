"""The month's end: what it takes, what it gives, when it is, and that it comes once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from farm import accounts, settle
from farm.services import Services
from tests import factories
from tests.farm.checks import amounts, assert_books_balance, run, scalar
from tests.farm.months import anniversary, create, end_month, find, renew
from tests.processes import wait_until


def test_the_months_end_replaces_what_is_left_of_the_grant_and_keeps_what_was_bought(
    services: Services,
) -> None:
    who = factories.customer(services, extra_credits=5)
    assert factories.succeed(
        services, factories.claimed(services, factories.submitted(services, who))
    )
    assert amounts(services, who.account_id) == (120, 0, 70)
    assert renew(services) == 0

    end_month(services)
    assert renew(services) == 1
    assert amounts(services, who.account_id) == (150, 0, 100)
    assert renew(services) == 0
    taken = "SELECT amount FROM entries WHERE kind = 'expire' AND book = 'available'"
    assert scalar(services, taken) == -70
    assert_books_balance(services)


def test_what_is_held_of_the_grant_survives_the_month_and_goes_with_the_next(
    services: Services,
) -> None:
    who = factories.customer(services)
    jobs = [factories.submitted(services, who) for _ in range(2)]
    end_month(services)
    assert renew(services) == 1
    assert amounts(services, who.account_id) == (160, 60, 160)

    assert factories.succeed(services, factories.claimed(services, jobs[0]))
    settle.cancel(services.db, None, jobs[1])
    assert amounts(services, who.account_id) == (130, 0, 130)
    end_month(services)
    assert renew(services) == 1
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_a_grant_that_was_spent_is_given_anew(services: Services) -> None:
    who = factories.customer(services)
    for _ in range(3):
        claim = factories.claimed(services, factories.submitted(services, who))
        assert factories.succeed(services, claim)
    end_month(services)
    renew(services)
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_several_missed_months_give_one_grant(services: Services) -> None:
    account = create(services)
    end_month(services, months=5)
    assert renew(services) == 1
    assert renew(services) == 0
    assert amounts(services, account.id) == (100, 0, 100)
    assert find(services, account.email).period_end > datetime.now(UTC)
    assert scalar(services, "SELECT count(*) FROM entries WHERE kind = 'grant'") == 4
    assert_books_balance(services)


def test_a_plan_that_is_gone_keeps_nobody_else_waiting(services: Services) -> None:
    stranded, other = create(services), create(services, "bob@example.com")
    run(services, "UPDATE accounts SET plan = 'gold' WHERE id = :id", id=stranded.id)
    end_month(services, months=2)
    assert renew(services, limit=1) == 1
    assert find(services, other.email).period_end > datetime.now(UTC)
    with services.db.transaction() as connection:
        lost = accounts.stranded_accounts(connection, services.catalog)
    assert [account.email for account in lost] == [stranded.email]
    assert_books_balance(services)


@pytest.mark.parametrize("day", [1, 28, 29, 30, 31])
def test_the_month_ends_on_the_accounts_own_day_each_time(services: Services, day: int) -> None:
    start = datetime(2024, 1, day, 9, 30, 15, tzinfo=UTC)
    account = create(services)
    # The end of the short February must not become the account's day.
    run(
        services,
        "UPDATE accounts SET created_at = :start, period_end = :end",
        start=start,
        end=anniversary(start, 1),
    )
    assert renew(services) == 1
    now = scalar(services, "SELECT now()")
    ahead = (anniversary(start, months) for months in range(1, 2000))
    assert find(services, account.email).period_end == next(end for end in ahead if end > now)


def test_a_round_renews_no_more_than_its_limit_and_the_longest_due_first(
    services: Services,
) -> None:
    emails = [f"n{number}@example.com" for number in range(5)]
    for months, email in enumerate(emails, 1):
        end_month(services, create(services, email).id, months=months)
    assert renew(services, limit=2) == 2
    renewed = [e for e in emails if find(services, e).period_end > datetime.now(UTC)]
    assert renewed == emails[-2:]
    assert [renew(services, limit=2) for _ in range(3)] == [2, 1, 0]
    assert_books_balance(services)


def test_rounds_at_once_renew_each_account_once(services: Services) -> None:
    for number in range(30):
        create(services, f"n{number}@example.com")
    end_month(services)
    start = threading.Barrier(4)

    def round_(_: int) -> int:
        start.wait(timeout=60)
        return renew(services, limit=20)

    with ThreadPoolExecutor(4) as pool:
        done = sum(pool.map(round_, range(4)))
    assert done + renew(services) == 30
    assert scalar(services, "SELECT count(*) FROM accounts WHERE posted <> 100") == 0
    # Two a transaction: the first grant and the second, of each account.
    assert scalar(services, "SELECT count(*) FROM entries WHERE kind = 'grant'") == 30 * 4
    assert_books_balance(services)


def test_renewing_while_jobs_are_submitted_keeps_the_books(services: Services) -> None:
    who = factories.customer(services, extra_credits=60)
    start = threading.Barrier(2)

    def submitting() -> int:
        start.wait(timeout=60)
        done = 0
        for _ in range(20):
            claim = factories.claimed(services, factories.submitted(services, who))
            done += factories.succeed(services, claim)
        return done

    def renewing() -> int:
        start.wait(timeout=60)
        done = 0
        for _ in range(10):
            end_month(services)
            # A round passes over an account that a submit has locked; the next one gets it.
            done += wait_until(lambda: renew(services), 30.0, "the account was renewed")
        return done

    with ThreadPoolExecutor(2) as pool:
        made, renewed = pool.submit(submitting), pool.submit(renewing)
        assert made.result() == 20
        assert renewed.result() == 10
    assert amounts(services, who.account_id)[1] == 0
    assert_books_balance(services)
