"""``farm db``: the schema."""

from __future__ import annotations

from pathlib import Path

import click

from farm.cli.common import data_option
from farm.config import load_settings
from farm.db import upgrade as upgrade_schema


@click.group()
def db() -> None:
    """The database's schema."""


@db.command()
@data_option
def upgrade(data: Path | None) -> None:
    """Bring the database to this version's schema. Safe to run again, and while the farm runs."""
    upgrade_schema(load_settings(data).need_database())
    click.echo("The database has this version's schema.")
