"""``farm keys``: make, list and revoke API keys."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from pathlib import Path

import click

from farm.accounts import find_account
from farm.cli.common import (
    data_option,
    json_option,
    opened,
    show_row,
    show_rows,
    storefront_option,
)
from farm.keys import create_key, list_keys, revoke_key


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.argument("email")
@click.option("--label", default="", help="What the key is for.")
@storefront_option
@json_option
@data_option
def create(
    email: str, label: str, storefront: str | None, as_json: bool, data: Path | None
) -> None:
    """Make another key for an account. It is shown now and never again."""
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
        row, key = create_key(connection, services.catalog, account.id, label)
    show_row({"id": row.id, "label": row.label, "key": key}, as_json=as_json)


@keys.command("list")
@click.argument("email")
@storefront_option
@json_option
@data_option
def list_(email: str, storefront: str | None, as_json: bool, data: Path | None) -> None:
    """List an account's keys, revoked ones included; never the keys themselves."""
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
        rows = [asdict(key) for key in list_keys(connection, account.id)]
    columns = ("id", "prefix_shown", "label", "created_at", "revoked_at")
    show_rows(rows, columns, as_json=as_json, empty=f"{email} has no keys.")


@keys.command()
@click.argument("key_id", type=click.UUID)
@data_option
def revoke(key_id: uuid.UUID, data: Path | None) -> None:
    """Revoke a key by its id, as `farm keys list` shows it."""
    with opened(data) as services, services.db.transaction() as connection:
        key = revoke_key(connection, key_id)
        kept_s = services.settings.key_cache_s
    click.echo(
        f"{key.prefix_shown} is revoked: it submits no more from now, and reads nothing "
        f"after {kept_s:g} s."
    )
