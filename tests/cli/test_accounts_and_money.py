"""Accounts, keys, credits and the audit, as the operator types them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from farm.errors import Forbidden, Unauthenticated
from farm.keys import KeyRing
from farm.services import Services
from tests.cli.conftest import Farm

EMAIL = "someone@example.com"


@pytest.fixture
def keys(services: Services) -> KeyRing:
    """Authentication without a memory, so that a change shows at once."""
    return KeyRing(services.db, services.catalog, cache_s=0)


def test_a_new_account_has_its_plan_and_a_key_that_works(farm: Farm, keys: KeyRing) -> None:
    ran = farm("accounts", "create", EMAIL, "--json")

    account = ran.json()
    assert ran.code == 0
    assert (account["plan"], account["available"], account["held"]) == ("free", 10.0, 0.0)
    principal = keys.authenticate(account["key"], "pixelapi")
    assert str(principal.account_id) == account["id"]


def test_credits_of_a_new_account_come_on_top_of_the_plan(farm: Farm) -> None:
    ran = farm("accounts", "create", EMAIL, "--plan", "starter", "--credits", "2.5", "--json")
    assert ran.json()["available"] == 10_002.5
    assert farm("accounts", "show", EMAIL.upper(), "--json").json()["available"] == 10_002.5


def test_people_get_a_line_for_each_field(farm: Farm) -> None:
    farm("accounts", "create", EMAIL)
    lines = farm("accounts", "show", EMAIL).out.splitlines()
    assert "email       someone@example.com" in lines
    assert "available   10.0" in lines


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("accounts", "create", EMAIL), "already has an account on pixelapi"),
        (("accounts", "create", "nobody"), "'nobody' is not an e-mail address"),
        (("accounts", "create", "a@b.cc", "--plan", "gold"), "must be one of free, starter"),
        (("accounts", "create", "a@b.cc", "--storefront", "shop"), "must be one of pixelapi"),
        (("accounts", "show", "a@b.cc"), "No account for a@b.cc. Make one with `farm accounts"),
        (("accounts", "plan", EMAIL, "gold"), "must be one of free, starter"),
        (("accounts", "block", "a@b.cc"), "No account for a@b.cc"),
        (("keys", "create", "a@b.cc"), "No account for a@b.cc"),
        (("keys", "revoke", "00000000-0000-0000-0000-000000000000"), "No such key. List them"),
        (("credits", "grant", EMAIL, "0", "--reason", "x"), "credits: must be above 0"),
        (("credits", "grant", EMAIL, "5", "--reason", " "), "reason: is required"),
        (("credits", "purchase", EMAIL, "0", "--reason", "x"), "credits: must be above 0"),
        (("credits", "adjust", EMAIL, "0", "--reason", "x"), "credits: must not be 0"),
        (("credits", "adjust", EMAIL, "-5", "--reason", " "), "reason: is required"),
        (("credits", "adjust", EMAIL, "-10.1", "--reason", "x"), "cannot take 10.1 from"),
        (("credits", "history", "a@b.cc"), "No account for a@b.cc"),
        (("accounts", "usage", "a@b.cc"), "No account for a@b.cc"),
        (("jobs", "show", "00000000-0000-0000-0000-000000000000"), "No such job"),
        (("jobs", "cancel", "00000000-0000-0000-0000-000000000000"), "No such job"),
        (("jobs", "list", "--account", "a@b.cc"), "No account for a@b.cc"),
    ],
)
def test_trouble_is_one_sentence_and_exit_code_1(
    farm: Farm, words: tuple[str, ...], says: str
) -> None:
    farm("accounts", "create", EMAIL)
    ran = farm(*words)
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith("farm: ")
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("accounts",),
        ("accounts", "create"),
        ("accounts", "create", EMAIL, "--credits", "1.55"),
        ("accounts", "create", EMAIL, "--credits", "-1"),
        ("accounts", "create", EMAIL, "--credits", "NaN"),
        ("credits", "grant", EMAIL, "many", "--reason", "x"),
        ("credits", "grant", EMAIL, "5"),
        ("credits", "purchase", EMAIL, "-5", "--reason", "x"),
        ("credits", "adjust", EMAIL, "-five", "--reason", "x"),
        ("credits", "adjust", EMAIL, "-5"),
        ("credits", "history", EMAIL, "--limit", "0"),
        ("accounts", "usage", EMAIL, "--days", "367"),
        ("keys", "revoke", "not-a-uuid"),
        ("jobs", "list", "--state", "asleep"),
        ("jobs", "list", "--limit", "0"),
        ("up", "--port", "0"),
        ("worker", "--queues", "no-such-model"),
        ("worker", "--queues", ","),
        ("models", "check", "no-such-model"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_how(farm: Farm, words: tuple[str, ...]) -> None:
    ran = farm(*words)
    assert ran.code == 2
    assert "Usage: farm" in ran.out + ran.err


def test_a_blocked_account_is_refused_until_it_is_unblocked(farm: Farm, keys: KeyRing) -> None:
    key = farm("accounts", "create", EMAIL, "--json").json()["key"]

    assert farm("accounts", "block", EMAIL).out == f"{EMAIL} on pixelapi is blocked.\n"
    with pytest.raises(Forbidden):
        keys.authenticate(key, "pixelapi")
    assert farm("accounts", "unblock", EMAIL).code == 0
    keys.authenticate(key, "pixelapi")


def test_keys_are_made_listed_without_their_text_and_revoked(farm: Farm, keys: KeyRing) -> None:
    first = farm("accounts", "create", EMAIL, "--json").json()["key"]
    second = farm("keys", "create", EMAIL, "--label", "ci", "--json").json()

    listed = farm("keys", "list", EMAIL, "--json")
    assert [row["label"] for row in listed.json()] == ["first", "ci"]
    assert first not in listed.out
    assert second["key"] not in listed.out
    assert "ci" in farm("keys", "list", EMAIL).out

    assert farm("keys", "revoke", second["id"]).code == 0
    assert farm("keys", "revoke", second["id"]).code == 0
    with pytest.raises(Unauthenticated):
        keys.authenticate(second["key"], "pixelapi")
    keys.authenticate(first, "pixelapi")
    assert [bool(row["revoked_at"]) for row in farm("keys", "list", EMAIL, "--json").json()] == [
        False,
        True,
    ]


def test_an_audit_of_sound_books_exits_0(farm: Farm) -> None:
    farm("accounts", "create", EMAIL, "--credits", "3")
    ran = farm("ledger", "audit")
    assert ran.code == 0
    assert ran.out.splitlines()[-1].endswith("invariants hold")
    findings = farm("ledger", "audit", "--json").json()
    assert all(finding["holds"] for finding in findings)
    assert len(ran.out.splitlines()) == len(findings) + 1


def test_an_audit_of_broken_books_exits_1_and_names_the_invariant(
    farm: Farm, services: Services
) -> None:
    account = farm("accounts", "create", EMAIL, "--json").json()
    with services.db.transaction() as connection:
        # Past the database's own guards, as only a superuser or a bug in them could go.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE accounts SET posted = posted + 1"))

    ran = farm("ledger", "audit")
    assert ran.code == 1
    assert "2  BROKEN  each account's posted, held and live equal" in ran.out
    assert f"account {account['id']}" in ran.out
    assert farm("ledger", "audit", "--json").code == 1
