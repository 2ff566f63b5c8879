"""The database: one engine a process, three ways to use it, one place that maps its failures.

PostgreSQL only, through psycopg2. ``transaction()`` is an ordinary READ COMMITTED
transaction; ``statement()`` lends a connection in autocommit mode, so that a single
statement is a whole transaction and costs one round trip instead of three. ``row()`` is
the hot path's: one prepared statement, without SQLAlchemy in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.pool import QueuePool

from farm.errors import DatabaseUnavailable, SetupError
from farm.patience import CONNECT_S, Doorman, bounded_connection
from farm.prepared import Prepared

T = TypeVar("T")

# SQLSTATEs that mean "not now" rather than "never": cancelled by a timeout, shutting down,
# out of connections, lock not available, serialisation, read-only after a failover.
_PASSING = ("57", "53", "55P03", "40", "08", "25006")
# The plan is gone (a pooler between us reset the session), or the schema changed under it.
_FORGOTTEN = ("26000", "0A000")
# No such table, no such column: the schema is another version's, or there is none.
_OTHER_SCHEMA = ("42P01", "42703")
_UPGRADE = "The database does not have this version's schema. Run `farm db upgrade`."
_AWAY = "The database does not answer. Try again shortly."
_MIGRATIONS = Path(__file__).with_name("migrations")


class Database:
    """A pool of connections to one PostgreSQL database.

    Args:
        url: an SQLAlchemy URL with the psycopg2 driver.
        pool_size: connections kept open; one per request thread is enough.
        timeout_s: the longest wait for a lock, a statement, or one of the pool's connections.
    """

    def __init__(self, url: str, *, pool_size: int = 16, timeout_s: float = 5.0) -> None:
        milliseconds = int(timeout_s * 1000)
        self.engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeout_s,
            pool_use_lifo=True,
            # The default, because the hot statements are a transaction each.
            isolation_level="AUTOCOMMIT",
            connect_args={
                # The server gives up first, so that a hung statement frees its locks.
                "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
                " -c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
                "connection_factory": bounded_connection(timeout_s),
                "application_name": "farm",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": int(CONNECT_S * 1000),
            },
        )
        doorman = Doorman()

        def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
            return doorman.connect(*arguments, **options)

        event.listen(self.engine, "do_connect", connect)
        self._transactional = self.engine.execution_options(isolation_level="READ COMMITTED")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One READ COMMITTED transaction: committed on exit, rolled back on an exception.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, or did not answer in time.
        """
        with mapped_failures(), self._transactional.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def statement(self) -> Iterator[Connection]:
        """A connection on which each statement commits by itself.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, or did not answer in time.
        """
        with mapped_failures(), self.engine.connect() as connection:
            yield connection

    def attempt(self, work: Callable[[Connection], T]) -> T:
        """Run repeatable work in autocommit mode; once more if the pooled connection was dead.

        After PostgreSQL restarts, every pooled connection is a dead one that looks alive. The
        pool drops them all at the first failure, so one repetition is enough.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, or did not answer in time.
        """
        try:
            with self.statement() as connection:
                return work(connection)
        except DatabaseUnavailable as error:
            cause = error.__cause__
            if not (isinstance(cause, DBAPIError) and cause.connection_invalidated):
                raise
        with self.statement() as connection:
            return work(connection)

    def row(self, statement: Prepared, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The first row of one prepared statement, or None. As :meth:`rows`."""
        return next(iter(self.rows(statement, values)), None)

    def rows(self, statement: Prepared, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of one prepared statement, which is a whole transaction by itself.

        Repeated once, on a new connection, where the pooled one was dead: the statement must
        be one that may run again after its answer was lost.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, or did not answer in time.
            psycopg2.IntegrityError: a constraint refused it.
        """
        try:
            return self._rows(statement, values)
        except _DeadConnection:
            # The other idle connections are as old, and as dead.
            self.engine.dispose()
        try:
            return self._rows(statement, values)
        except _DeadConnection as error:
            raise DatabaseUnavailable(_AWAY) from error.__cause__

    def _rows(self, statement: Prepared, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        try:
            with mapped_failures():
                connection = self.engine.raw_connection()
        except psycopg2.Error as error:
            raise DatabaseUnavailable(_AWAY) from error
        driver: Any = connection.driver_connection
        try:
            with driver.cursor() as cursor:
                known = connection.info.setdefault("prepared", set())
                if statement.name not in known:
                    cursor.execute(statement.prepare)
                    known.add(statement.name)
                cursor.execute(statement.execute, values)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
                return rows
        except psycopg2.Error as error:
            if driver.closed or error.pgcode in _FORGOTTEN:
                connection.invalidate()
                raise _DeadConnection from error
            if (error.pgcode or "").startswith(_PASSING):
                raise DatabaseUnavailable(_AWAY) from error
            if error.pgcode in _OTHER_SCHEMA:
                raise SetupError(_UPGRADE) from error
            raise
        finally:
            connection.close()

    def dispose(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()


class _DeadConnection(Exception):
    """The connection cannot go on, and a new one may; ``__cause__`` says how it broke."""


@contextlib.contextmanager
def mapped_failures() -> Iterator[None]:
    """Turn a database that is away or slow into DatabaseUnavailable, one with another schema
    into SetupError; let bugs through."""
    try:
        yield
    except (OperationalError, InterfaceError, TimeoutError) as error:
        raise DatabaseUnavailable(_AWAY) from error
    except DBAPIError as error:
        state = getattr(error.orig, "pgcode", None) or ""
        if error.connection_invalidated or state.startswith(_PASSING):
            raise DatabaseUnavailable(_AWAY) from error
        if state in _OTHER_SCHEMA:
            raise SetupError(_UPGRADE) from error
        raise


def upgrade(url: str) -> None:
    """Bring the schema to the newest revision. Safe when several processes start at once.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    # Imported here: it is a fifth of what a process imports, and only this needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["url"] = url
    with mapped_failures():
        command.upgrade(config, "head")


def schema_is_current(connection: Connection) -> bool:
    """True when the database is at the newest revision that this code knows."""
    # Alembic would say so too. A file is named after its revision: r0001_….py.
    newest = max(path.stem[1:5] for path in _MIGRATIONS.glob("versions/r[0-9]*.py"))
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return False
    at = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return at == [newest]
