"""Accounts: the plan's credits, who may have one, and what the month's end does to the grant."""

from __future__ import annotations

import calendar
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from farm import accounts, settle
from farm.accounts import Account
from farm.catalog import Catalog
from farm.errors import InvalidRequest, NotFound
from farm.services import Services
from farm.types import AccountStatus
from tests import factories
from tests.factories import Customer
from tests.farm.checks import amounts, assert_books_balance, run, scalar
from tests.processes import wait_until


def create(services: Services, email: str = "ann@example.com", **options: object) -> Account:
    """A new account, committed."""
    with services.db.transaction() as connection:
        return accounts.create_account(connection, services.catalog, email, **options)  # type: ignore[arg-type]


def find(services: Services, email: str, storefront: str | None = None) -> Account:
    """The account of an address."""
    with services.db.transaction() as connection:
        return accounts.find_account(connection, email, storefront)


def renew(services: Services, limit: int = 100) -> int:
    """One round of the monthly renewal."""
    with services.db.transaction() as connection:
        return accounts.renew_due_accounts(connection, services.catalog, limit)


def end_month(services: Services, account_id: uuid.UUID | None = None, months: int = 1) -> None:
    """Put accounts that many months into the past, so that their last period is just over."""
    run(
        services,
        "UPDATE accounts SET created_at = created_at - make_interval(months => :months), "
        "period_end = period_end - make_interval(months => :months) - interval '1 second' "
        "WHERE :any OR id = :id",
        months=months,
        any=account_id is None,
        id=account_id or uuid.uuid4(),
    )


def refused_field(services: Services, **options: object) -> str:
    """The field that creating an account is refused for."""
    with pytest.raises(InvalidRequest) as caught:
        create(services, **options)  # type: ignore[arg-type]
    [error] = caught.value.errors
    return error.field


def two_storefronts(catalog: Catalog) -> Catalog:
    """The catalogue with a second storefront like the first."""
    shop = catalog.storefronts["pixelapi"]
    other = shop.model_copy(update={"id": "other", "key_prefix": "ok_live_"})
    return catalog.model_copy(update={"storefronts": {"pixelapi": shop, "other": other}})


def test_a_new_account_is_free_and_holds_its_plans_credits(services: Services) -> None:
    account = create(services)
    assert (account.email, account.storefront, account.plan) == (
        "ann@example.com",
        "pixelapi",
        "free",
    )
    assert account.status is AccountStatus.ACTIVE
    assert amounts(services, account.id) == (100, 0, 100)
    assert account.available_tenths == 100
    assert account.created_at.tzinfo is not None
    assert timedelta(days=27) < account.period_end - account.created_at < timedelta(days=32)
    assert_books_balance(services)


@pytest.mark.parametrize(
    ("plan", "credits"), [("free", 10), ("starter", 10_000), ("pro", 60_000), ("scale", 300_000)]
)
def test_each_plan_grants_its_credits(services: Services, plan: str, credits: int) -> None:
    account = create(services, plan=plan, extra_tenths=5)
    assert account.plan == plan
    assert amounts(services, account.id) == (credits * 10 + 5, 0, credits * 10)
    assert_books_balance(services)


NO_ADDRESSES = (
    "",
    "ann",
    "ann@",
    "@example.com",
    "ann@example",
    "ann@@example.com",
    "ann smith@example.com",
    "ann@example.",
    " ann@example.com",
    "ann@example.com\n",
    "a\x00b@example.com",
    "a\udcff@example.com",
    "a" * 65 + "@example.com",
    "ann@" + "e" * 250 + ".com",
)


def test_what_is_no_address_is_refused(services: Services) -> None:
    assert {refused_field(services, email=email) for email in NO_ADDRESSES} == {"email"}
    assert scalar(services, "SELECT count(*) FROM accounts") == 0


def test_unusual_addresses_are_taken(services: Services) -> None:
    for email in ("a@b.co", "ann+farm@mail.example.co.uk", "änn@exämple.com"):
        assert find(services, create(services, email).email).email == email


def test_an_address_has_one_account_in_any_letter_case(services: Services) -> None:
    create(services, "Ann@example.com")
    for second in ("Ann@example.com", "ann@example.com", "ANN@Example.COM"):
        assert refused_field(services, email=second) == "email"
    assert scalar(services, "SELECT count(*) FROM accounts") == 1
    assert_books_balance(services)


def test_a_refused_duplicate_leaves_the_transaction_usable(services: Services) -> None:
    create(services)
    with services.db.transaction() as connection:
        with pytest.raises(InvalidRequest, match="already has an account"):
            accounts.create_account(connection, services.catalog, "ann@example.com")
        accounts.create_account(connection, services.catalog, "bob@example.com")
    assert find(services, "bob@example.com").available_tenths == 100


def test_unknown_storefronts_and_plans_and_negative_extras_are_named(services: Services) -> None:
    assert refused_field(services, storefront="nowhere") == "storefront"
    assert refused_field(services, plan="gold") == "plan"
    assert refused_field(services, extra_tenths=-1) == "credits"
    assert scalar(services, "SELECT count(*) FROM accounts") == 0


def test_an_account_is_found_in_any_letter_case(services: Services) -> None:
    account = create(services, "Ann@Example.com")
    assert find(services, "ann@example.COM").id == account.id
    assert find(services, "ann@example.com", "pixelapi").id == account.id


def test_an_account_that_is_not_there_says_how_to_make_it(services: Services) -> None:
    with pytest.raises(NotFound, match=r"farm accounts create bob@example\.com"):
        find(services, "bob@example.com")
    create(services, "bob@example.com")
    with pytest.raises(NotFound):
        find(services, "bob@example.com", "elsewhere")


def test_an_address_on_two_storefronts_must_say_which(services: Services, catalog: Catalog) -> None:
    both = two_storefronts(catalog)
    with services.db.transaction() as connection:
        ids = {
            name: accounts.create_account(connection, both, "ann@example.com", storefront=name).id
            for name in both.storefronts
        }
    with pytest.raises(InvalidRequest, match="other, pixelapi"):
        find(services, "ann@example.com")
    assert find(services, "ann@example.com", "other").id == ids["other"]


def test_an_account_is_blocked_and_unblocked(services: Services) -> None:
    account = create(services)
    for status in (AccountStatus.BLOCKED, AccountStatus.BLOCKED, AccountStatus.ACTIVE):
        with services.db.transaction() as connection:
            accounts.set_status(connection, account.id, status)
        assert find(services, account.email).status is status


def test_what_is_done_to_an_unknown_account_is_not_found(services: Services) -> None:
    unknown = uuid.uuid4()
    with services.db.transaction() as connection:
        for attempt in (
            lambda: accounts.get_account(connection, unknown),
            lambda: accounts.set_status(connection, unknown, AccountStatus.BLOCKED),
            lambda: accounts.change_plan(connection, services.catalog, unknown, "pro"),
        ):
            with pytest.raises(NotFound):
                attempt()


def change_plan(services: Services, who: Customer, plan: str) -> Account:
    """Another plan for a customer, committed."""
    with services.db.transaction() as connection:
        return accounts.change_plan(connection, services.catalog, who.account_id, plan)


def test_a_change_of_plan_replaces_the_grant_at_once_and_the_month_goes_on(
    services: Services,
) -> None:
    who = factories.customer(services, extra_credits=7)
    before = find(services, who.email)
    held = factories.submitted(services, who)
    after = change_plan(services, who, "starter")
    assert (after.plan, after.period_end) == ("starter", before.period_end)
    # 3 of the 10 granted credits are held, and stay until their job has ended.
    assert amounts(services, who.account_id) == (70 + 30 + 100_000, 30, 30 + 100_000)
    assert_books_balance(services)

    # To the plan it has already: what was spent of the month is not given anew.
    assert factories.succeed(services, factories.claimed(services, held))
    change_plan(services, who, "starter")
    assert amounts(services, who.account_id) == (70 + 100_000, 0, 100_000)
    assert factories.succeed(
        services, factories.claimed(services, factories.submitted(services, who))
    )
    change_plan(services, who, "starter")
    assert amounts(services, who.account_id) == (70 + 99_970, 0, 99_970)
    change_plan(services, who, "free")
    assert amounts(services, who.account_id) == (70 + 100, 0, 100)
    assert_books_balance(services)


def test_a_plan_that_is_not_sold_changes_nothing(services: Services) -> None:
    who = factories.customer(services)
    with pytest.raises(InvalidRequest, match="free, starter, pro, scale"):
        change_plan(services, who, "gold")
    assert amounts(services, who.account_id) == (100, 0, 100)


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


def anniversary(start: datetime, months: int) -> datetime:
    """``start`` that many months later, on the month's last day where it has no such day."""
    years, month = divmod(start.month - 1 + months, 12)
    last = calendar.monthrange(start.year + years, month + 1)[1]
    return start.replace(year=start.year + years, month=month + 1, day=min(start.day, last))


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
