"""The month's end: what it takes, what it gives, when it is, and that it comes once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from farm import accounts, ledger, settle
from farm.services import Services
from tests import factories
from tests.farm.checks import amounts, assert_books_balance, run, scalar
from tests.farm.months import Clock, anniversary, create, end_month, find, renew, set_time_zone

TICK = timedelta(microseconds=1)
ZONES = ("UTC", "America/New_York", "Pacific/Auckland", "Asia/Kolkata", "Pacific/Kiritimati")


def at(moment: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def months_entries(services: Services, email: str) -> list[str]:
    """What the ledger says that months gave and took of an account, oldest first."""
    account = find(services, email)
    with services.db.transaction() as connection:
        found = ledger.history(connection, account.id, 1000)
    return [
        f"{entry.kind} {entry.available_tenths} {entry.reason}"
        for entry in reversed(found)
        if entry.kind in ("grant", "expire")
    ]


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


# Month ends at set times --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "next_end"),
    [
        ("2022-12-31T00:00:00", "2023-01-31T00:00:00", "2023-02-28T00:00:00"),
        ("2023-01-31T09:30:15", "2023-02-28T09:30:15", "2023-03-31T09:30:15"),
        ("2023-01-28T23:59:59", "2023-02-28T23:59:59", "2023-03-28T23:59:59"),
        ("2024-01-31T23:59:59.999999", "2024-02-29T23:59:59.999999", "2024-03-31T23:59:59.999999"),
        ("2024-01-29T03:00:00", "2024-02-29T03:00:00", "2024-03-29T03:00:00"),
        ("2024-02-29T00:00:00", "2024-03-29T00:00:00", "2024-04-29T00:00:00"),
        ("2099-12-31T12:00:00", "2100-01-31T12:00:00", "2100-02-28T12:00:00"),
    ],
)
def test_a_months_end_takes_and_gives_once_at_its_very_moment(
    services: Services, start: str, end: str, next_end: str
) -> None:
    clock = Clock(services, at(start))
    who = factories.customer(services, extra_credits=5)
    assert find(services, who.email).period_end == at(end)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, claim)

    clock.set(at(end) - TICK)
    assert renew(services) == 0
    clock.set(at(end))
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: renew(services), range(4))) == 1
    assert renew(services) == 0
    assert months_entries(services, who.email) == [
        "grant 100 a month of free",
        "expire -70 the month ended",
        "grant 100 a month of free",
    ]
    account = find(services, who.email)
    assert account.period_end == at(next_end)
    assert (account.posted_tenths, account.grant_tenths) == (150, 100)
    assert_books_balance(services)


STARTS = tuple(
    map(
        at,
        (
            "2023-01-31T00:00:00",
            "2023-01-29T23:59:59.999999",
            "2023-01-30T03:30:00",
            "2023-02-28T12:00:00",
            "2023-03-26T01:30:00",  # what does not exist where Europe's clocks go forward
            "2023-03-12T02:30:00",  # nor in America
            "2023-05-31T04:59:59",
            "2023-08-01T00:00:00",
            "2023-10-31T23:00:00",
            "2023-12-31T11:11:11.111111",
            "2024-02-29T08:00:00",
        ),
    )
)


def test_years_of_months_go_by_as_the_calendar_says(services: Services) -> None:
    """Over two Februaries of 28 days and one of 29, with a server that has summer time."""
    clock = Clock(services, STARTS[0])
    set_time_zone(services, "America/New_York")
    ends: dict[datetime, set[str]] = {}
    for number, start in enumerate(STARTS):
        clock.set(start)
        email = create(services, f"n{number}@example.com").email
        for months in range(1, 27):
            ends.setdefault(anniversary(start, months), set()).add(email)
    last = at("2025-03-25T00:00:00")
    due = sorted(end for end in ends if end < last)
    for end in due:
        clock.set(end - TICK)
        assert renew(services) == 0
        clock.set(end)
        assert renew(services) == len(ends[end])
    assert_books_balance(services)
    for number, start in enumerate(STARTS):
        email = f"n{number}@example.com"
        past = sum(email in ends[end] for end in due)
        assert past >= 12
        again = ["expire -100 the month ended", "grant 100 a month of free"]
        assert months_entries(services, email) == ["grant 100 a month of free", *again * past]
        assert find(services, email).period_end == anniversary(start, past + 1)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),
    later=st.timedeltas(timedelta(0), timedelta(days=1500)),
    zone=st.sampled_from(ZONES),
)
@example(at("2024-01-31T03:00:00"), timedelta(days=30), "America/New_York")
@example(at("2023-02-10T07:30:00"), timedelta(days=28), "America/New_York")
@example(at("2024-02-29T00:00:00"), timedelta(days=366), "Pacific/Auckland")
def test_any_renewal_leads_to_the_first_anniversary_ahead(
    services: Services, start: datetime, later: timedelta, zone: str
) -> None:
    if scalar(services, "SELECT to_regnamespace('clock') IS NULL"):
        Clock(services, start)
    now = start + later
    moved = "UPDATE clock.present SET at = :at"
    with services.db.transaction() as connection:
        connection.execute(text(f"SET LOCAL TimeZone = '{zone}'"))
        connection.execute(text(moved), {"at": start})
        account = accounts.create_account(connection, services.catalog, "ann@example.com")
        assert (account.created_at, account.period_end) == (start, anniversary(start, 1))

        connection.execute(text(moved), {"at": now})
        due = accounts.renew_due_accounts(connection, services.catalog)
        assert due == (anniversary(start, 1) <= now)
        ahead = (anniversary(start, months) for months in range(1, 100))
        renewed = accounts.get_account(connection, account.id)
        assert renewed.period_end == next(end for end in ahead if end > now)
        assert renewed.posted_tenths == 100
        connection.rollback()
