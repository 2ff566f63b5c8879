"""Plans, credits, their history and usage, as the operator types them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from farm.services import Services
from tests import factories
from tests.cli.conftest import Farm
from tests.farm.checks import assert_books_balance

EMAIL = "someone@example.com"


@pytest.fixture(autouse=True)
def account(farm: Farm) -> None:
    """An account on the free plan with 7 credits that do not expire."""
    assert farm("accounts", "create", EMAIL, "--credits", "7").code == 0


def month_end(farm: Farm) -> str:
    """When the account's month ends, as people read it."""
    end = datetime.fromisoformat(farm("accounts", "show", EMAIL, "--json").json()["period_end"])
    return f"{end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def test_a_larger_plan_says_what_came_and_what_comes(farm: Farm) -> None:
    ran = farm("accounts", "plan", EMAIL, "starter")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{EMAIL} on pixelapi is on starter now.",
        "Granted now: 9990 credits.",
        "Available now: 10007 credits, held: 0.",
        f"On {month_end(farm)} what is left of the monthly credits goes and 10000 come.",
    ]


def test_a_smaller_plan_says_when_it_begins(farm: Farm) -> None:
    farm("accounts", "plan", EMAIL, "scale")
    end = month_end(farm)
    assert farm("accounts", "plan", EMAIL, "free").out.splitlines() == [
        f"{EMAIL} on pixelapi stays on scale until {end}, then goes to free.",
        "Available now: 300007 credits, held: 0.",
        f"On {end} what is left of the monthly credits goes and 10 come.",
    ]
    assert farm("accounts", "show", EMAIL, "--json").json()["next_plan"] == "free"
    assert farm("accounts", "plan", EMAIL, "free", "--now").out.splitlines() == [
        f"{EMAIL} on pixelapi is on free now.",
        "Taken back now: 299990 credits.",
        "Available now: 17 credits, held: 0.",
        f"On {end} what is left of the monthly credits goes and 10 come.",
    ]


def test_a_change_of_plan_as_json_is_the_account_and_what_moved(farm: Farm) -> None:
    up = farm("accounts", "plan", EMAIL, "starter", "--json").json()
    down = farm("accounts", "plan", EMAIL, "free", "--json").json()
    seen = [
        (row["plan"], row["next_plan"], row["available"], row["granted"], row["taken_back"])
        for row in (up, down)
    ]
    assert seen == [
        ("starter", None, 10_007.0, 9990.0, 0.0),
        ("starter", "free", 10_007.0, 0.0, 0.0),
    ]
    shown = farm("accounts", "show", EMAIL, "--json").json()
    assert shown == {name: down[name] for name in shown}


def test_credits_are_given_sold_and_corrected(farm: Farm, services: Services) -> None:
    because = ("--reason", "because")
    assert farm("credits", "grant", EMAIL, "100.5", *because).out == (
        f"{EMAIL} on pixelapi got 100.5 credits; available now: 117.5.\n"
    )
    assert farm("credits", "purchase", EMAIL, "50", *because).out == (
        f"{EMAIL} on pixelapi bought 50 credits; available now: 167.5.\n"
    )
    assert farm("credits", "adjust", EMAIL, "-60.5", *because).out == (
        f"{EMAIL} on pixelapi was corrected by -60.5 credits; available now: 107.\n"
    )
    assert farm("credits", "adjust", *because, "--storefront", "pixelapi", EMAIL, "+3").out == (
        f"{EMAIL} on pixelapi was corrected by +3 credits; available now: 110.\n"
    )
    # Every digit, however many there are.
    assert farm("credits", "purchase", EMAIL, "1234567.5", *because).out == (
        f"{EMAIL} on pixelapi bought 1234567.5 credits; available now: 1234677.5.\n"
    )
    newest = farm("credits", "history", EMAIL, "--json", "--limit", "5").json()
    assert [(row["kind"], row["available"], row["reason"]) for row in newest] == [
        ("purchase", 1_234_567.5, "because"),
        ("adjust", 3.0, "because"),
        ("adjust", -60.5, "because"),
        ("purchase", 50.0, "because"),
        ("adjust", 100.5, "because"),
    ]
    assert_books_balance(services)


def test_a_correction_never_takes_what_jobs_hold(farm: Farm, services: Services) -> None:
    who = factories.customer(services)
    factories.submitted(services, who)
    ran = farm("credits", "adjust", who.email, "-8", "--reason", "x")
    assert (ran.code, ran.out) == (1, "")
    assert f"cannot take 8 from {who.email}: 7 are available, and" in ran.err
    assert "traceback" not in ran.err.lower()
    assert farm("credits", "adjust", who.email, "-7", "--reason", "x").code == 0
    assert_books_balance(services)


def test_the_history_is_a_line_for_each_entry_newest_first(farm: Farm, services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, claim)
    lines = farm("credits", "history", who.email).out.splitlines()
    assert lines[0].split() == ["at", "kind", "available", "held", "job_id", "reason"]
    kinds = [re.split(r"  +", line.rstrip())[1:] for line in lines[1:]]
    assert kinds == [
        ["charge", "-3", str(claim.job_id)],
        ["hold", "-3", "+3", str(claim.job_id)],
        ["grant", "+10", "-", "a month of free"],
    ]


def test_usage_is_by_day_and_kind(farm: Farm, services: Services) -> None:
    who = factories.customer(services)
    assert (
        farm("accounts", "usage", who.email, "--days", "7").out == "No jobs in the last 7 days.\n"
    )
    assert farm("accounts", "usage", who.email, "--json").json() == []
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, claim)
    assert factories.fail(services, factories.claimed(services, factories.submitted(services, who)))

    [row] = farm("accounts", "usage", who.email, "--json").json()
    assert {**row, "day": "today"} == {
        "day": "today",
        "operation": "generate",
        "model": "sdxl",
        "jobs": 2,
        "succeeded": 1,
        "failed": 1,
        "credits": 3.0,
    }
    lines = farm("accounts", "usage", who.email).out.splitlines()
    assert lines[1].split() == [row["day"], "generate", "sdxl", "2", "1", "1", "3.0"]
