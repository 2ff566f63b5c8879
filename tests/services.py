"""The real PostgreSQL and Redis that tests run on, and databases made from a migrated template."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import redis
from sqlalchemy import make_url

from farm.config import Settings
from farm.db import upgrade
from farm.embedded import start_postgres


class Databases:
    """One PostgreSQL server that hands out fresh, migrated databases.

    The first ones are copied from a template that is migrated once. Copying costs the server
    more than many a test, so what comes back is emptied, renamed and handed out again, unless
    it grew or anything but rows was changed in it.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._prefix = f"farm_test_{os.getpid()}"
        self._numbers = itertools.count()
        self._template = ""
        self._schema = ""
        self._resting: deque[str] = deque()
        self._server: Any = None

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a database with the current schema and no rows; nobody's on exit."""
        name = self._emptied() or self._copied(self._migrated_template())
        try:
            yield self._at(name)
        finally:
            self._run(_END_SESSIONS, {"name": name})
            [(size,)] = self._run("SELECT pg_database_size(%(name)s)", {"name": name})
            if size < _GROWN_BYTES:
                self._resting.append(name)
            else:
                self._drop(name)

    @contextlib.contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a new database without a schema; dropped on exit."""
        name = self._copied("template0")
        try:
            yield self._at(name)
        finally:
            self._drop(name)

    def clear(self, url: str) -> None:
        """Delete every row of a database that is in use; new ones count from one again."""
        with self._session(str(make_url(url).database)) as session:
            _rows(session, _EMPTY)

    def close(self) -> None:
        """Drop what is left, and close the connection to the server."""
        for name in (*self._resting, self._template):
            if name:
                self._drop(name)
        if self._server is not None:
            self._server.close()

    def _migrated_template(self) -> str:
        if not self._template:
            name = f"{self._prefix}_template"
            self._run(f"CREATE DATABASE {name} TEMPLATE template0")
            upgrade(self._at(name))
            self._template = name
            with self._session(name) as session:
                filled = [
                    table
                    for (table,) in _rows(session, f"SELECT oid::regclass::text {_TABLES}")
                    if _rows(session, f"SELECT FROM {table}")
                ]
                assert not filled, f"emptying would take what migrations wrote into {filled}"
                [(self._schema,)] = _rows(session, _SCHEMA)
        return self._template

    def _copied(self, template: str) -> str:
        name = f"{self._prefix}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _emptied(self) -> str | None:
        """One that was used, emptied; None where there is none that can be had again.

        The last ones rest: their sessions were told to end, and may take a moment. It gets a
        new name, so that whatever outlived its test cannot find it.
        """
        if len(self._resting) < _RESTING:
            return None
        name = f"{self._prefix}_{next(self._numbers)}"
        self._run(f"ALTER DATABASE {self._resting.popleft()} RENAME TO {name}")
        with self._session(name) as session:
            if _rows(session, _SCHEMA) == [(self._schema,)]:
                _rows(session, _EMPTY)
                return name
        self._drop(name)
        return None

    def _drop(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _at(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _run(self, sql: str, values: dict[str, str] | None = None) -> list[Any]:
        if self._server is None:
            self._server = self._connect(self._url.database)
        return _rows(self._server, sql, values)

    @contextlib.contextmanager
    def _session(self, name: str) -> Iterator[Any]:
        with contextlib.closing(self._connect(name)) as session:
            yield session

    def _connect(self, name: str | None) -> Any:
        query = {key: str(value) for key, value in self._url.query.items()}
        connection = psycopg2.connect(
            host=query.pop("host", self._url.host),
            port=self._url.port,
            user=self._url.username,
            password=self._url.password,
            dbname=name,
            **query,
        )
        connection.autocommit = True
        return connection


def _rows(session: Any, sql: str, values: dict[str, str] | None = None) -> list[Any]:
    with session.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall()) if cursor.description else []


_RESTING = 3
_GROWN_BYTES = 24 << 20
"""A new one has 8 MiB and some; what is larger may be slower than new."""
_END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %(name)s"
# Whatever is made or altered gets another row version in one of these; no copy does.
_SCHEMA = """
    SELECT md5(string_agg(what, ',' ORDER BY what)) FROM (
        SELECT format('class %s %s', oid, xmin) FROM pg_class WHERE oid >= 16384
        UNION ALL SELECT format('column %s %s %s', attrelid, attnum, xmin)
            FROM pg_attribute WHERE attrelid >= 16384
        UNION ALL SELECT format('default %s %s', oid, xmin) FROM pg_attrdef WHERE oid >= 16384
        UNION ALL SELECT format('constraint %s %s', oid, xmin)
            FROM pg_constraint WHERE oid >= 16384
        UNION ALL SELECT format('trigger %s %s', oid, xmin) FROM pg_trigger WHERE oid >= 16384
        UNION ALL SELECT format('function %s %s', oid, xmin) FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT format('schema %s %s', oid, xmin) FROM pg_namespace
        UNION ALL SELECT format('statistics %s', starelid)
            FROM pg_statistic WHERE starelid >= 16384
        UNION ALL SELECT format('setting %s', setconfig) FROM pg_db_role_setting
            WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION ALL SELECT format('revision %s', version_num) FROM alembic_version
    ) AS state (what)
"""
_TABLES = """
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
      AND relname <> 'alembic_version'
"""
# The triggers guard rows that must stay; here none must. New rows count from one again.
_EMPTY = f"""
    DO $$
    DECLARE name text;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOR name IN SELECT oid::regclass {_TABLES} LOOP
            EXECUTE 'DELETE FROM ' || name;
        END LOOP;
        PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
    END $$
"""


@contextlib.contextmanager
def database_server(folder: Path, override: str) -> Iterator[Databases]:
    """The server at the URL ``override``, or a private one in ``folder`` where that is empty."""
    with contextlib.ExitStack() as stack:
        if override:
            url = Settings(DATABASE_URL=override).database_url
        else:
            # Nobody will want this data after a power cut, so it need not be synced.
            url = stack.enter_context(start_postgres(folder, durable=False)).url
        databases = Databases(url)
        stack.callback(databases.close)
        yield databases


def redis_client(url: str) -> redis.Redis[Any]:
    """A client for a Redis URL as kombu writes it, unix sockets included."""
    if not url.startswith("redis+socket://"):
        return redis.Redis.from_url(url)
    path, _, query = url.removeprefix("redis+socket://").partition("?")
    number = query.removeprefix("virtual_host=") or "0"
    return redis.Redis.from_url(f"unix://{path}?db={number}")


def flush(url: str) -> None:
    """Empty one numbered database of a Redis."""
    client = redis_client(url)
    client.flushdb()
    client.close()
