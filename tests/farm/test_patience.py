"""A database that says nothing any more: whoever asks is told soon, and all of them are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url, text

from farm.db import Database
from farm.errors import DatabaseUnavailable
from farm.patience import CONNECT_S, PAUSE_S, Doorman, statements_may_take
from tests.faults.trial.proxy import Proxy, Target

TIMEOUT_S = 0.3
POOL = 2


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(_server(postgres_url)) as found:
        yield found


@pytest.fixture
def far(postgres_url: str, proxy: Proxy) -> Iterator[Database]:
    """The database, past the proxy."""
    url = make_url(postgres_url)
    past = url.set(host="127.0.0.1", port=proxy.port, query={})
    found = Database(
        past.render_as_string(hide_password=False), pool_size=POOL, timeout_s=TIMEOUT_S
    )
    yield found
    found.dispose()


def test_a_silent_server_costs_everybody_little_and_later_ones_nothing(
    far: Database, proxy: Proxy
) -> None:
    assert _asked(far)[0]
    proxy.silence()
    with ThreadPoolExecutor(3 * POOL) as pool:
        first = list(pool.map(lambda _: _asked(far), range(3 * POOL)))
    assert not any(answered for answered, _ in first)
    # The answer that did not come, the wait for a new connection, and some of a slow machine.
    assert max(took for _, took in first) < TIMEOUT_S + CONNECT_S + 1.5
    answered, took = _asked(far)
    assert not answered
    assert took < PAUSE_S / 2, "the next one does not wait for it again"
    proxy.heal()
    deadline = time.monotonic() + 10
    while not _asked(far)[0]:
        assert time.monotonic() < deadline, "it is not asked again"


def test_one_dead_connection_of_a_server_that_is_well_is_not_noticed(
    far: Database, proxy: Proxy
) -> None:
    assert _asked(far)[0]
    proxy.silence()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_asked, far)
        time.sleep(TIMEOUT_S / 2)
        # The answer is lost; whoever connects anew gets through.
        proxy.heal()
        assert asked.result()[0]


def test_a_statement_may_be_given_more_time(far: Database) -> None:
    slow = text(f"SELECT pg_sleep({2 * TIMEOUT_S + 0.3})")
    with far.transaction() as connection, statements_may_take(connection, 10):
        connection.execute(slow)
    with pytest.raises(DatabaseUnavailable), far.transaction() as connection:
        connection.execute(slow)


def test_one_at_a_time_tries_a_server_that_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now, tries = 0.0, []
    takes_s = CONNECT_S

    def connect(*_: object, **__: object) -> str:
        nonlocal now
        tries.append(now)
        now += takes_s
        if takes_s:
            raise psycopg2.OperationalError("nobody is there")
        return "connected"

    monkeypatch.setattr(psycopg2, "connect", connect)
    doorman = Doorman(lambda: now)
    for _ in range(5):
        with pytest.raises(psycopg2.OperationalError):
            doorman.connect()
    assert tries == [0.0]
    now += PAUSE_S
    takes_s = 0.0
    assert doorman.connect() == doorman.connect() == "connected"


def _asked(database: Database) -> tuple[bool, float]:
    """Whether it answered, and after how many seconds."""
    started = time.monotonic()
    try:
        database.attempt(lambda connection: connection.execute(text("SELECT 1")).scalar_one())
    except DatabaseUnavailable:
        return False, time.monotonic() - started
    return True, time.monotonic() - started


def _server(url: str) -> Target:
    """Where the server listens, as a proxy is told it."""
    parsed = make_url(url)
    host = str(parsed.query.get("host", parsed.host))
    return Path(host) / ".s.PGSQL.5432" if host.startswith("/") else (host, parsed.port or 5432)
