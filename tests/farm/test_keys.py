"""API keys: their shape, what is stored of them, and who is found behind one, for how long."""

from __future__ import annotations

import hashlib
import string
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from farm import accounts, keys
from farm.catalog import Catalog
from farm.errors import DatabaseUnavailable, Forbidden, NotFound, Unauthenticated
from farm.keys import KeyRing, generate_key, is_well_formed
from farm.services import Services, build_services
from farm.types import AccountStatus
from tests import factories
from tests.farm.checks import run, scalar

PREFIX = "pk_live_"
KEY = generate_key(PREFIX)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def counted(services: Services) -> Iterator[list[str]]:
    """The SQL statements that run meanwhile."""
    seen: list[str] = []

    def note(*event_: Any) -> None:
        seen.append(event_[2])

    event.listen(services.db.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(services.db.engine, "before_cursor_execute", note)


def ring(services: Services, cache_s: float = 5.0, clock: Clock | None = None) -> KeyRing:
    """A key ring with a clock of the test's own."""
    return KeyRing(services.db, services.catalog, cache_s, clock or Clock())


def revoke(services: Services, key_id: uuid.UUID) -> keys.ApiKey:
    """Revoke a key, committed."""
    with services.db.transaction() as connection:
        return keys.revoke_key(connection, key_id)


def test_a_key_is_its_prefix_190_random_bits_and_a_checksum() -> None:
    made = {generate_key(PREFIX) for _ in range(200)}
    assert len(made) == 200
    for key in made:
        assert key.startswith(PREFIX)
        assert len(key) == len(PREFIX) + 38
        assert set(key[len(PREFIX) :]) <= set(string.ascii_letters + string.digits)
        assert is_well_formed(key, PREFIX)


@settings(deadline=None)
@given(st.integers(0, len(KEY) - 1), st.characters(min_codepoint=33, max_codepoint=0x2FF))
def test_one_changed_character_is_noticed(place: int, char: str) -> None:
    altered = KEY[:place] + char + KEY[place + 1 :]
    assert is_well_formed(altered, PREFIX) is (altered == KEY)


@given(st.text(max_size=60))
def test_no_other_text_is_well_formed(tail: str) -> None:
    assert not is_well_formed(tail, PREFIX)
    assert not is_well_formed(KEY + tail + "x", PREFIX)
    assert not is_well_formed(PREFIX + tail, "sk_")


def test_a_new_key_is_shown_once_and_stored_as_its_hash(services: Services) -> None:
    who = factories.customer(services)
    with services.db.transaction() as connection:
        row, key = keys.create_key(connection, services.catalog, who.account_id, "the shop's")
    assert is_well_formed(key, PREFIX)
    assert (row.account_id, row.label, row.revoked_at) == (who.account_id, "the shop's", None)
    assert row.prefix_shown == f"{key[:12]}…"
    stored = scalar(services, "SELECT sha256 FROM api_keys WHERE id = :id", id=row.id)
    assert bytes(stored) == hashlib.sha256(key.encode()).digest()
    # Nowhere in the database is more of it than what is shown.
    with services.db.statement() as connection:
        tables = connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).scalars()
        dump = "".join(
            str(connection.exec_driver_sql(f'SELECT t::text FROM "{name}" t').scalars().all())
            for name in tables.all()
        )
    assert key[:12] in dump
    assert key[:13] not in dump
    assert key[13:] not in dump


def test_a_key_for_an_unknown_account_is_not_found(services: Services) -> None:
    with services.db.transaction() as connection, pytest.raises(NotFound):
        keys.create_key(connection, services.catalog, uuid.uuid4())


def test_keys_are_listed_oldest_first_revoked_ones_included(services: Services) -> None:
    who, other = factories.customer(services), factories.customer(services)
    for label in ("second", "third"):
        with services.db.transaction() as connection:
            keys.create_key(connection, services.catalog, who.account_id, label)
    revoke(services, who.principal.key_id)
    with services.db.transaction() as connection:
        listed = keys.list_keys(connection, who.account_id)
        assert len(keys.list_keys(connection, other.account_id)) == 1
        assert keys.list_keys(connection, uuid.uuid4()) == []
    assert [key.label for key in listed] == ["", "second", "third"]
    assert [key.revoked_at is not None for key in listed] == [True, False, False]


def test_revoking_again_is_harmless_and_keeps_the_first_time(services: Services) -> None:
    who = factories.customer(services)
    first = revoke(services, who.principal.key_id)
    again = revoke(services, who.principal.key_id)
    assert first.revoked_at is not None
    assert again == first
    with pytest.raises(NotFound, match="farm keys list"):
        revoke(services, uuid.uuid4())


def test_a_key_finds_its_caller(services: Services) -> None:
    who = factories.customer(services, plan="pro")
    assert ring(services).authenticate(who.key, "pixelapi") == who.principal


def test_a_mistyped_key_is_refused_without_a_query(services: Services) -> None:
    who = factories.customer(services)
    swapped = who.key[:-1] + ("a" if who.key[-1] != "a" else "b")
    with counted(services) as seen:
        for key in ("", "pk_live_", "Bearer", who.key[:-1], who.key + "x", swapped, "pk_live_ü"):
            with pytest.raises(Unauthenticated, match="pk_live_"):
                ring(services).authenticate(key, "pixelapi")
    assert seen == []


def test_an_unknown_key_is_refused_and_not_remembered(services: Services) -> None:
    found = ring(services)
    with counted(services) as seen:
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="unknown or has been revoked"):
                found.authenticate(generate_key(PREFIX), "pixelapi")
    assert len(seen) == 2


def test_an_answer_is_remembered_for_its_time_and_no_longer(services: Services) -> None:
    who, clock = factories.customer(services), Clock()
    found = ring(services, 5.0, clock)
    with counted(services) as seen:
        for after_s, queries in ((0, 1), (2, 1), (2.9, 1), (0.2, 2), (4.9, 2)):
            clock.now += after_s
            assert found.authenticate(who.key, "pixelapi") == who.principal
            assert len(seen) == queries


def test_no_memory_means_a_query_each_time(services: Services) -> None:
    who = factories.customer(services)
    found = ring(services, 0.0)
    with counted(services) as seen:
        for _ in range(3):
            found.authenticate(who.key, "pixelapi")
    assert len(seen) == 3


def test_a_revoked_key_stops_when_the_memory_of_it_ends(services: Services) -> None:
    who, clock = factories.customer(services), Clock()
    found = ring(services, 5.0, clock)
    found.authenticate(who.key, "pixelapi")
    revoke(services, who.principal.key_id)
    with pytest.raises(Unauthenticated):
        ring(services).authenticate(who.key, "pixelapi")
    clock.now += 4.9
    found.authenticate(who.key, "pixelapi")
    clock.now += 0.2
    with pytest.raises(Unauthenticated, match="revoked"):
        found.authenticate(who.key, "pixelapi")


def test_a_blocked_account_is_forbidden_and_comes_back(services: Services) -> None:
    who, clock = factories.customer(services), Clock()
    found = ring(services, 5.0, clock)
    for status in (AccountStatus.BLOCKED, AccountStatus.ACTIVE):
        with services.db.transaction() as connection:
            accounts.set_status(connection, who.account_id, status)
        clock.now += 5
        if status is AccountStatus.ACTIVE:
            assert found.authenticate(who.key, "pixelapi").status is status
        else:
            with pytest.raises(Forbidden, match="blocked"):
                found.authenticate(who.key, "pixelapi")


def test_a_key_opens_one_storefront_even_where_another_has_the_same_prefix(
    services: Services, catalog: Catalog
) -> None:
    shop = catalog.storefronts["pixelapi"]
    shops = {"pixelapi": shop, "twin": shop.model_copy(update={"id": "twin"})}
    shops["other"] = shop.model_copy(update={"id": "other", "key_prefix": "ok_live_"})
    found = KeyRing(services.db, catalog.model_copy(update={"storefronts": shops}), 5.0)
    who = factories.customer(services)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="another service"):
            found.authenticate(who.key, "twin")
        with pytest.raises(Unauthenticated, match="start with ok_live_"):
            found.authenticate(who.key, "other")
        assert found.authenticate(who.key, "pixelapi") == who.principal


def test_the_memory_is_bounded_and_forgets_what_is_old_first(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_CACHE_MAX", 3)
    who, clock = factories.customer(services), Clock()
    found = ring(services, 5.0, clock)
    made = [who.key]
    for _ in range(4):
        with services.db.transaction() as connection:
            made.append(keys.create_key(connection, services.catalog, who.account_id)[1])

    def queries(*wanted: str) -> int:
        with counted(services) as seen:
            for key in wanted:
                found.authenticate(key, "pixelapi")
        return len(seen)

    assert queries(made[0], made[1]) == 2
    clock.now += 3
    assert queries(made[2]) == 1
    clock.now += 3
    # The first two are too old by now: they make room, and the third stays.
    assert queries(made[3], made[2]) == 1
    assert queries(made[4], made[2], made[3]) == 1
    # Full of fresh ones: room is made all the same.
    assert queries(made[0], made[0]) == 1
    assert queries(*made) >= 2


def test_a_database_that_is_away_is_said_and_not_remembered(services: Services) -> None:
    who = factories.customer(services)
    hasty = build_services(services.settings.model_copy(update={"db_timeout_s": 0.2}))
    found = ring(hasty)
    with services.db.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable):
            found.authenticate(who.key, "pixelapi")
    assert found.authenticate(who.key, "pixelapi") == who.principal
    hasty.dispose()


def test_the_database_refuses_a_hash_twice_or_of_another_length(services: Services) -> None:
    who = factories.customer(services)
    for sha256 in ("sha256", "substr(sha256, 2)"):
        with pytest.raises(Exception, match="api_keys_sha256"):
            run(
                services,
                f"INSERT INTO api_keys (id, account_id, sha256, shown) "
                f"SELECT :id, account_id, {sha256}, shown FROM api_keys WHERE account_id = :who",
                id=uuid.uuid4(),
                who=who.account_id,
            )
