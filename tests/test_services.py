"""A database that was used is handed out again only where nobody can tell."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from farm.db import Database, schema_is_current
from farm.services import Services
from tests import factories
from tests.services import Databases

_ENOUGH = 5
"""So many later the first one has come around again."""


def used(databases: Databases, *statements: str) -> tuple[str, str]:
    """The name and the object id of a database in which these were run, and was then left."""
    with databases.fresh() as url:
        database = Database(url)
        with database.statement() as connection:
            for statement in statements:
                connection.execute(text(statement))
            name, oid = connection.execute(text(_WHICH)).one()
        database.dispose()
    return str(name), str(oid)


_WHICH = "SELECT datname, oid FROM pg_database WHERE datname = current_database()"


def test_it_comes_back_empty_and_under_another_name(
    services: Services, databases: Databases
) -> None:
    factories.submitted(services, factories.customer(services, plan="pro"))
    with services.db.statement() as connection:
        _, oid = connection.execute(text(_WHICH)).one()
    services.dispose()
    name, again = used(databases)
    left = [used(databases) for _ in range(_ENOUGH)]
    assert name not in [found for found, _ in left]
    assert again in [found for _, found in left]
    assert str(oid) not in [again, *(found for _, found in left)], "it is this test's own still"
    with databases.fresh() as url:
        database = Database(url)
        with database.statement() as connection:
            assert schema_is_current(connection)
            for table in ("accounts", "jobs", "entries", "api_keys"):
                assert not connection.execute(text(f"SELECT count(*) FROM {table}")).scalar()
            assert connection.execute(text("SELECT nextval('ledger_transactions')")).scalar() == 1
        database.dispose()


@pytest.mark.parametrize(
    "changed",
    [
        "ALTER TABLE entries DROP CONSTRAINT entries_job",
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "CREATE SCHEMA extra",
        "UPDATE alembic_version SET version_num = '9999'",
        "ANALYZE leases, alembic_version",
    ],
)
def test_one_that_was_changed_is_not_handed_out_again(databases: Databases, changed: str) -> None:
    _, oid = used(databases, changed)
    assert oid not in [used(databases)[1] for _ in range(_ENOUGH)]
