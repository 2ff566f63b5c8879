"""Alembic's entry: runs the migrations in one transaction, one process at a time."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from farm.tables import metadata

# Any number would do; it must only be the same in every process that migrates.
_MIGRATION_LOCK = 7_203_914

engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
with engine.begin() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    context.configure(connection=connection, target_metadata=metadata)
    context.run_migrations()
engine.dispose()
