"""Accounts: the plan's credits, who may have one, and how one is found."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from farm import accounts
from farm.catalog import Catalog
from farm.errors import InvalidRequest, NotFound
from farm.services import Services
from farm.types import AccountStatus
from tests.farm.checks import amounts, assert_books_balance, scalar
from tests.farm.months import create, find


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
