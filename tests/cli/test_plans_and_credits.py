"""Plans as the operator types them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.cli.conftest import Farm

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
