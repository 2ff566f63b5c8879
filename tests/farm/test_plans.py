"""Changes of plan: what comes at once, what waits, and that no month gives more than its
largest plan.
"""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from farm import accounts
from farm.accounts import PlanChange
from farm.errors import InvalidRequest, NotFound
from farm.services import Services
from tests import factories
from tests.factories import Customer
from tests.farm.books import small_plans
from tests.farm.checks import amounts, assert_books_balance, run, scalar
from tests.farm.months import end_month, find, renew

FREE, STARTER, PRO = 100, 100_000, 600_000


def change_plan(
    services: Services, who: Customer, plan: str, *, at_once: bool = False
) -> PlanChange:
    """Another plan for a customer, committed."""
    with services.db.transaction() as connection:
        return accounts.change_plan(
            connection, services.catalog, who.account_id, plan, at_once=at_once
        )


def spend(services: Services, who: Customer, jobs: int = 1) -> None:
    """Pay for that many jobs, 30 tenths each."""
    for _ in range(jobs):
        claim = factories.claimed(services, factories.submitted(services, who))
        assert factories.succeed(services, claim)


def plans(change: PlanChange) -> tuple[str, str | None, int, int]:
    """(plan, next plan, granted, taken back) after a change."""
    account = change.account
    return account.plan, account.next_plan, change.granted_tenths, change.taken_tenths


def test_a_larger_plan_begins_at_once_with_the_difference_and_the_month_goes_on(
    services: Services,
) -> None:
    who = factories.customer(services, extra_credits=7)
    before = find(services, who.email)
    factories.submitted(services, who)
    change = change_plan(services, who, "starter")
    assert plans(change) == ("starter", None, STARTER - FREE, 0)
    assert change.account.period_end == before.period_end
    assert amounts(services, who.account_id) == (70 + STARTER, 30, STARTER)
    assert plans(change_plan(services, who, "pro")) == ("pro", None, PRO - STARTER, 0)
    assert amounts(services, who.account_id) == (70 + PRO, 30, PRO)
    assert_books_balance(services)


def test_what_the_month_has_had_is_not_given_again_even_when_it_was_spent(
    services: Services,
) -> None:
    who = factories.customer(services)
    spend(services, who, jobs=3)
    assert plans(change_plan(services, who, "starter")) == ("starter", None, STARTER - FREE, 0)
    assert amounts(services, who.account_id) == (STARTER - 90, 0, STARTER - 90)
    assert_books_balance(services)


def test_a_smaller_plan_begins_when_the_month_is_over(services: Services) -> None:
    who = factories.customer(services, plan="starter", extra_credits=7)
    spend(services, who)
    assert plans(change_plan(services, who, "free")) == ("starter", "free", 0, 0)
    assert amounts(services, who.account_id) == (70 + STARTER - 30, 0, STARTER - 30)

    end_month(services)
    assert renew(services) == 1
    after = find(services, who.email)
    assert (after.plan, after.next_plan) == ("free", None)
    assert amounts(services, who.account_id) == (70 + FREE, 0, FREE)
    end_month(services)
    assert renew(services) == 1
    assert find(services, who.email).plan == "free"
    assert_books_balance(services)


def test_naming_the_present_plan_takes_back_a_smaller_one_that_waits(services: Services) -> None:
    who = factories.customer(services, plan="pro")
    assert plans(change_plan(services, who, "free")) == ("pro", "free", 0, 0)
    assert plans(change_plan(services, who, "starter")) == ("pro", "starter", 0, 0)
    assert plans(change_plan(services, who, "pro")) == ("pro", None, 0, 0)
    assert plans(change_plan(services, who, "free")) == ("pro", "free", 0, 0)
    # So does a larger one: the last word counts.
    assert plans(change_plan(services, who, "scale")) == ("scale", None, 2_400_000, 0)
    end_month(services)
    assert renew(services) == 1
    assert find(services, who.email).plan == "scale"
    assert_books_balance(services)


@pytest.mark.parametrize("at_once", [False, True])
def test_to_and_fro_mints_nothing(services: Services, at_once: bool) -> None:
    small = replace(services, catalog=small_plans(services.catalog))
    who = factories.customer(small, plan="starter")
    spend(small, who, jobs=5)
    assert amounts(small, who.account_id) == (10, 0, 10)
    for _ in range(5):
        change_plan(small, who, "free", at_once=at_once)
        change_plan(small, who, "starter", at_once=at_once)
    assert amounts(small, who.account_id) == (10, 0, 10)
    assert find(small, who.email).granted_tenths == 160
    assert_books_balance(small)


def test_a_smaller_plan_at_once_undoes_a_slip_and_leaves_what_was_bought_or_is_held(
    services: Services,
) -> None:
    who = factories.customer(services, extra_credits=7)
    change_plan(services, who, "pro")
    change = change_plan(services, who, "free", at_once=True)
    assert plans(change) == ("free", None, 0, PRO - FREE)
    assert amounts(services, who.account_id) == (70 + FREE, 0, FREE)
    reason = "SELECT reason FROM entries WHERE kind = 'expire' AND book = 'available'"
    assert scalar(services, reason) == "from pro to free"

    # As if the slip had never been: the plan that was meant gets all that it grants.
    change_plan(services, who, "starter")
    assert amounts(services, who.account_id) == (70 + STARTER, 0, STARTER)
    assert_books_balance(services)


def test_a_smaller_plan_at_once_takes_no_more_than_is_neither_spent_nor_held(
    services: Services,
) -> None:
    who = factories.customer(services, plan="starter")
    spend(services, who, jobs=5)
    job = factories.submitted(services, who)
    change = change_plan(services, who, "free", at_once=True)
    assert plans(change) == ("free", None, 0, STARTER - 150 - 30)
    assert amounts(services, who.account_id) == (30, 30, 30)
    assert change.account.granted_tenths == 150 + 30
    assert factories.succeed(services, factories.claimed(services, job))
    assert amounts(services, who.account_id) == (0, 0, 0)
    assert_books_balance(services)


def test_a_change_in_a_month_that_is_over_renews_it_first(services: Services) -> None:
    """A grant into the old month would be gone as soon as the sweeper comes by."""
    who = factories.customer(services)
    other = factories.customer(services)
    spend(services, who)
    end_month(services, who.account_id)
    assert plans(change_plan(services, who, "starter")) == ("starter", None, STARTER - FREE, 0)
    assert renew(services) == 0
    assert amounts(services, who.account_id) == (STARTER, 0, STARTER)
    assert amounts(services, other.account_id) == (FREE, 0, FREE)

    # The new month began with the plan that waited for it.
    change_plan(services, who, "free")
    end_month(services, who.account_id)
    assert plans(change_plan(services, who, "free")) == ("free", None, 0, 0)
    assert amounts(services, who.account_id) == (FREE, 0, FREE)
    assert_books_balance(services)


def test_a_plan_that_the_catalogue_lost_is_left_at_once(services: Services) -> None:
    who = factories.customer(services, plan="starter")
    run(services, "UPDATE accounts SET plan = 'gold'")
    assert plans(change_plan(services, who, "free")) == ("free", None, 0, 0)
    assert amounts(services, who.account_id) == (STARTER, 0, STARTER)

    run(services, "UPDATE accounts SET plan = 'gold'")
    end_month(services)
    assert renew(services) == 0
    assert plans(change_plan(services, who, "starter")) == ("starter", None, 0, 0)
    assert amounts(services, who.account_id) == (STARTER, 0, STARTER)
    assert_books_balance(services)


def test_a_next_plan_that_the_catalogue_lost_is_named_and_holds_up_its_account_alone(
    services: Services,
) -> None:
    who, other = factories.customer(services), factories.customer(services)
    run(services, "UPDATE accounts SET next_plan = 'gold' WHERE id = :id", id=who.account_id)
    with services.db.transaction() as connection:
        lost = accounts.stranded_accounts(connection, services.catalog)
    assert [account.id for account in lost] == [who.account_id]
    end_month(services)
    assert renew(services) == 1
    assert find(services, other.email).posted_tenths == FREE
    assert plans(change_plan(services, who, "free")) == ("free", None, 0, 0)
    assert renew(services) == 0
    assert_books_balance(services)


def test_a_plan_that_is_not_sold_changes_nothing(services: Services) -> None:
    who = factories.customer(services)
    with pytest.raises(InvalidRequest, match="free, starter, pro, scale"):
        change_plan(services, who, "gold")
    assert amounts(services, who.account_id) == (FREE, 0, FREE)
    run(services, "UPDATE accounts SET storefront = 'closed'")
    with pytest.raises(InvalidRequest, match="closed is not in the catalogue"):
        change_plan(services, who, "pro")
    with services.db.transaction() as connection, pytest.raises(NotFound):
        accounts.change_plan(connection, services.catalog, uuid.uuid4(), "pro")
