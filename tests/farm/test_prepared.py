"""The hot path's way into the database: prepared once a connection, and as sturdy as the others."""

from __future__ import annotations

import time
import uuid

import psycopg2
import pytest
from sqlalchemy import text

from farm.db import Database
from farm.errors import DatabaseUnavailable
from farm.prepared import Prepared

ADD = Prepared("test_add", "SELECT :a + :b + :a, :note", {"a": "integer", "b": "bigint"})
SLOW = Prepared("test_slow", "SELECT pg_sleep(:seconds)", {"seconds": "double precision"})


def test_parameters_keep_their_types_and_may_repeat(database: Database) -> None:
    assert database.row(ADD, {"a": 1, "b": 10, "note": "it's :fine"}) == (12, "it's :fine")


def test_casts_are_not_parameters() -> None:
    statement = Prepared("x", "SELECT :a::text, 'b'::text", {"a": "uuid"})
    assert statement.prepare == "PREPARE x (uuid) AS SELECT $1::text, 'b'::text"
    assert statement.execute == "EXECUTE x (%(a)s)"


def test_no_row_is_none(database: Database) -> None:
    nothing = Prepared("test_none", "SELECT 1 FROM jobs WHERE id = :id", {"id": "uuid"})
    assert database.row(nothing, {"id": str(uuid.uuid4())}) is None


def test_it_is_planned_once_a_connection(database: Database) -> None:
    for _ in range(5):
        database.row(ADD, {"a": 1, "b": 1, "note": ""})
    with database.statement() as connection:
        prepared = connection.execute(
            text("SELECT count(*) FROM pg_prepared_statements WHERE name = 'test_add'")
        ).scalar_one()
    assert prepared == 1


def test_each_row_is_committed(database: Database) -> None:
    insert = Prepared("test_in", "INSERT INTO marks VALUES (:n) RETURNING n", {"n": "integer"})
    with database.statement() as connection:
        connection.execute(text("CREATE TABLE marks (n integer PRIMARY KEY)"))
    assert database.row(insert, {"n": 1}) == (1,)
    with pytest.raises(psycopg2.IntegrityError):
        database.row(insert, {"n": 1})
    assert database.row(insert, {"n": 2}) == (2,)
    with database.statement() as connection:
        assert connection.execute(text("SELECT count(*) FROM marks")).scalar_one() == 2


@pytest.mark.parametrize("after", ["killed", "forgotten"])
def test_a_connection_that_cannot_go_on_is_replaced(postgres_url: str, after: str) -> None:
    database, other = Database(postgres_url), Database(postgres_url)
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    values = {"a": 1, "b": 1, "note": ""}
    try:
        assert database.row(ADD, values) == (3, "")
        if after == "killed":
            with other.statement() as connection:
                connection.execute(kill)
        else:
            with database.statement() as connection:
                connection.execute(text("DEALLOCATE ALL"))
        assert database.row(ADD, values) == (3, "")
    finally:
        database.dispose()
        other.dispose()


def test_a_changed_schema_is_planned_again(database: Database) -> None:
    look = Prepared("test_look", "SELECT * FROM things", {})
    with database.statement() as connection:
        connection.execute(text("CREATE TABLE things AS SELECT 1 AS a"))
    assert database.row(look, {}) == (1,)
    with database.statement() as connection:
        connection.execute(text("ALTER TABLE things ADD COLUMN b integer DEFAULT 2"))
    assert database.row(look, {}) == (1, 2)


def test_a_slow_statement_is_given_up(postgres_url: str) -> None:
    database = Database(postgres_url, timeout_s=0.2)
    started = time.monotonic()
    try:
        with pytest.raises(DatabaseUnavailable):
            database.row(SLOW, {"seconds": 30})
        assert time.monotonic() - started < 5
        assert database.row(ADD, {"a": 1, "b": 1, "note": ""}) == (3, "")
    finally:
        database.dispose()


def test_a_database_that_is_away_is_said() -> None:
    database = Database("postgresql+psycopg2://farm@127.0.0.1:1/farm")
    with pytest.raises(DatabaseUnavailable):
        database.row(ADD, {"a": 1, "b": 1, "note": ""})
