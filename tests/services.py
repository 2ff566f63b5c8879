"""The real PostgreSQL and Redis that tests run on, and databases made from a migrated template."""

from __future__ import annotations

import contextlib
import itertools
import os
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

    A database is copied from a template that is migrated once, which takes milliseconds.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._prefix = f"farm_test_{os.getpid()}"
        self._numbers = itertools.count()
        self._template = ""

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a new database with the current schema; dropped on exit."""
        with self.empty(template=self._migrated_template()) as url:
            yield url

    @contextlib.contextmanager
    def empty(self, template: str = "template0") -> Iterator[str]:
        """The URL of a new database without a schema; dropped on exit."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self._at(name)
        finally:
            self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def close(self) -> None:
        """Drop the template."""
        if self._template:
            self._run(f"DROP DATABASE IF EXISTS {self._template} WITH (FORCE)")

    def _migrated_template(self) -> str:
        if not self._template:
            name = f"{self._prefix}_template"
            self._run(f"CREATE DATABASE {name} TEMPLATE template0")
            upgrade(self._at(name))
            self._template = name
        return self._template

    def _at(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _run(self, sql: str) -> None:
        url = self._url
        query = {key: str(value) for key, value in url.query.items()}
        host = query.pop("host", url.host)
        connection = psycopg2.connect(
            host=host,
            port=url.port,
            user=url.username,
            password=url.password,
            dbname=url.database,
            **query,
        )
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
        finally:
            connection.close()


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
