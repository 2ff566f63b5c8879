"""The schema: migrations make what the tables say, forwards, backwards and at once."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

import farm.migrations
from farm.db import Database, schema_is_current, upgrade
from farm.errors import DatabaseUnavailable
from farm.tables import metadata
from tests.services import Databases

# Indexes and what is built on them are drawn up in the migration alone.
_LEFT_TO_THE_MIGRATION = ("add_index", "remove_index", "add_constraint", "remove_constraint")


@pytest.fixture
def empty_url(databases: Databases) -> Iterator[str]:
    """The URL of a database without a schema."""
    with databases.empty() as url:
        yield url


def alembic_config(url: str) -> Config:
    """Alembic's configuration, as farm.db makes it."""
    config = Config()
    config.set_main_option("script_location", str(Path(farm.migrations.__file__).parent))
    config.attributes["url"] = url
    return config


def inspected(url: str, look: Any) -> Any:
    """What ``look(connection)`` finds on a connection of its own."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        found = look(connection)
    engine.dispose()
    return found


def objects(connection: Connection) -> set[str]:
    """Tables, sequences, functions, triggers and constraints of the schema, Alembic's apart."""
    rows = connection.execute(
        text(
            """
            SELECT relkind::text || ' ' || relname FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_version%'
            UNION SELECT 'function ' || proname FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace
            UNION SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
            UNION SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
              AND conname NOT LIKE 'alembic_version%'
            UNION SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type
                || ' ' || is_nullable || coalesce(' ' || column_default, '')
            FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name <> 'alembic_version'
            """
        )
    )
    return set(rows.scalars())


def differences(connection: Connection) -> list[Any]:
    """What Alembic would change to make the database what farm/tables.py says."""
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    found = []
    for change in compare_metadata(context, metadata):
        # A change of a column comes as a list of one or more, the others bare.
        for item in change if isinstance(change, list) else [change]:
            if item[0] not in _LEFT_TO_THE_MIGRATION:
                found.append(item)
    return found


def test_the_tables_in_the_code_are_the_tables_in_the_database(postgres_url: str) -> None:
    assert inspected(postgres_url, differences) == []


def test_a_difference_would_be_found(postgres_url: str) -> None:
    """The comparison above sees types, nullability, defaults and missing columns."""

    def changed(connection: Connection) -> set[str]:
        for change in (
            "ALTER TABLE jobs ALTER COLUMN step TYPE bigint",
            "ALTER TABLE jobs ALTER COLUMN worker SET NOT NULL",
            "ALTER TABLE jobs ALTER COLUMN deaths DROP DEFAULT",
            "ALTER TABLE jobs DROP COLUMN facts",
            "CREATE TABLE extra (id int)",
        ):
            connection.execute(text(change))
        return {item[0] for item in differences(connection)}

    assert inspected(postgres_url, changed) == {
        "add_column",
        "modify_default",
        "modify_nullable",
        "modify_type",
        "remove_table",
    }


def test_the_revisions_are_one_line() -> None:
    script = ScriptDirectory.from_config(alembic_config(""))
    assert len(script.get_heads()) == len(script.get_bases()) == 1
    # Oldest first in the folder's listing too.
    order = [Path(revision.path).name for revision in script.walk_revisions()][::-1]
    assert order == sorted(order)


def test_down_and_up_again_gives_the_same_and_down_leaves_nothing(empty_url: str) -> None:
    before = inspected(empty_url, objects)
    upgrade(empty_url)
    upgraded = inspected(empty_url, objects)
    assert upgraded > before
    command.downgrade(alembic_config(empty_url), "base")
    assert inspected(empty_url, objects) == before
    upgrade(empty_url)
    assert inspected(empty_url, objects) == upgraded


def test_upgrading_again_changes_nothing(postgres_url: str) -> None:
    before = inspected(postgres_url, objects)
    upgrade(postgres_url)
    assert inspected(postgres_url, objects) == before


def test_processes_may_upgrade_at_once(empty_url: str) -> None:
    code = "import sys; from farm.db import upgrade; upgrade(sys.argv[1])"
    started = [
        subprocess.Popen([sys.executable, "-c", code, empty_url], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert inspected(empty_url, schema_is_current)


def test_the_schema_is_current_after_the_upgrade_and_not_before_or_after_a_newer(
    empty_url: str,
) -> None:
    database = Database(empty_url)
    with database.statement() as connection:
        assert not schema_is_current(connection)
        upgrade(empty_url)
        assert schema_is_current(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert not schema_is_current(connection)
    database.dispose()


def test_a_database_that_is_away_is_said(empty_url: str) -> None:
    nowhere = make_url(empty_url).set(database="no_such_database")
    with pytest.raises(DatabaseUnavailable):
        upgrade(nowhere.render_as_string(hide_password=False))


def test_what_a_month_has_had_is_read_from_the_ledger_when_the_column_comes(
    empty_url: str,
) -> None:
    """The largest grant since the month began, on an account of the 31st."""
    config = alembic_config(empty_url)
    command.upgrade(config, "0002")
    who, other = uuid.uuid4(), uuid.uuid4()

    def before(connection: Connection) -> None:
        for account, posted in ((who, 100_300), (other, 0)):
            connection.execute(
                text(
                    "INSERT INTO accounts (id, email, storefront, plan, posted, created_at,"
                    " period_end) VALUES (:id, :id || '@example.com', 'pixelapi', 'starter',"
                    " :posted, '2024-01-31 10:00Z', '2024-03-31 10:00Z')"
                ),
                {"id": account, "posted": posted},
            )
        for number, (kind, tenths, at) in enumerate(
            (
                ("grant", 600_000, "2024-02-29 09:59Z"),  # another month's, of a larger plan
                ("grant", 100, "2024-02-29 10:00Z"),
                ("grant", 100_000, "2024-03-15 00:00Z"),
                ("grant", 100, "2024-03-16 00:00Z"),
                ("purchase", 900_000, "2024-03-17 00:00Z"),
            )
        ):
            connection.execute(
                text(
                    "INSERT INTO entries (transaction_id, account_id, kind, book, amount,"
                    " created_at) VALUES (:n, :id, :kind, 'farm', -:tenths, :at),"
                    " (:n, :id, :kind, 'available', :tenths, :at)"
                ),
                {"n": number, "id": who, "kind": kind, "tenths": tenths, "at": at},
            )
        connection.commit()

    inspected(empty_url, before)
    command.upgrade(config, "head")

    def after(connection: Connection) -> dict[Any, Any]:
        rows = connection.execute(text("SELECT id, granted_in_period, next_plan FROM accounts"))
        return {row.id: (row.granted_in_period, row.next_plan) for row in rows}

    assert inspected(empty_url, after) == {who: (100_000, None), other: (0, None)}


def test_jobs_that_are_there_get_their_numbers_and_are_batches_of_one(empty_url: str) -> None:
    config = alembic_config(empty_url)
    command.upgrade(config, "0005")
    who, other, idle = (uuid.uuid4() for _ in range(3))
    made = [(who, 3), (other, 1), (who, 1), (who, 2)]

    def before(connection: Connection) -> None:
        # Of these jobs only their order matters: the guards of states and money stay out.
        connection.execute(text("SET session_replication_role = replica"))
        for account in (who, other, idle):
            connection.execute(
                text(
                    "INSERT INTO accounts (id, email, storefront, plan, period_end)"
                    " VALUES (:id, :id || '@example.com', 'pixelapi', 'free', now())"
                ),
                {"id": account},
            )
        for account, day in made:
            connection.execute(
                text(
                    "INSERT INTO jobs (id, account_id, storefront, model, operation, queue,"
                    " priority, params, price, price_rule, created_at) VALUES"
                    " (gen_random_uuid(), :id, 'pixelapi', 'sdxl', 'generate', 'gpu.sdxl', 0,"
                    " '{}', 30, '', make_date(2026, 1, :day))"
                ),
                {"id": account, "day": day},
            )
        connection.commit()

    inspected(empty_url, before)
    command.upgrade(config, "head")

    def after(connection: Connection) -> tuple[list[Any], dict[Any, Any]]:
        jobs = connection.execute(
            text(
                "SELECT account_id, extract(day FROM created_at)::int AS day, seq,"
                " batch_id = id AS alone, batch_size, sold_as FROM jobs"
            )
        )
        counts = connection.execute(text("SELECT id, jobs_made FROM accounts"))
        return list(jobs), {row.id: row.jobs_made for row in counts}

    jobs, counts = inspected(empty_url, after)
    assert {(job.account_id, job.day): job.seq for job in jobs} == {
        (who, 1): 1,
        (who, 2): 2,
        (who, 3): 3,
        (other, 1): 1,
    }
    assert all((job.alone, job.batch_size, job.sold_as) == (True, 1, "") for job in jobs)
    assert counts == {who: 3, other: 1, idle: 0}
