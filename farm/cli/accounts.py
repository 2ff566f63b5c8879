"""``farm accounts``: make, show, block and move accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from farm.accounts import Account, change_plan, create_account, find_account, set_status
from farm.cli.common import (
    credits_as_tenths,
    credits_of,
    data_option,
    json_option,
    opened,
    show_row,
    storefront_option,
)
from farm.keys import create_key
from farm.types import AccountStatus


@click.group()
def accounts() -> None:
    """Make, show, block and move accounts."""


@accounts.command()
@click.argument("email")
@click.option("--storefront", default="pixelapi", show_default=True)
@click.option("--plan", help="Default: the storefront's.")
@click.option(
    "--credits", "tenths", type=credits_as_tenths, default="0", help="On top of the plan's."
)
@json_option
@data_option
def create(
    email: str, storefront: str, plan: str | None, tenths: int, as_json: bool, data: Path | None
) -> None:
    """Make an account and one API key. The key is shown now and never again."""
    if tenths < 0:
        raise click.BadParameter("must not be negative.", param_hint="--credits")
    with opened(data) as services, services.db.transaction() as connection:
        account = create_account(
            connection,
            services.catalog,
            email,
            storefront=storefront,
            plan=plan,
            extra_tenths=tenths,
        )
        _, key = create_key(connection, services.catalog, account.id, "first")
    show_row({**account_row(account), "key": key}, as_json=as_json)


@accounts.command()
@click.argument("email")
@storefront_option
@json_option
@data_option
def show(email: str, storefront: str | None, as_json: bool, data: Path | None) -> None:
    """Show an account's plan, status and credits."""
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
    show_row(account_row(account), as_json=as_json)


@accounts.command()
@click.argument("email")
@storefront_option
@data_option
def block(email: str, storefront: str | None, data: Path | None) -> None:
    """Refuse an account's keys. Jobs it has already submitted go on."""
    _set_status(email, storefront, data, AccountStatus.BLOCKED)


@accounts.command()
@click.argument("email")
@storefront_option
@data_option
def unblock(email: str, storefront: str | None, data: Path | None) -> None:
    """Let a blocked account use its keys again."""
    _set_status(email, storefront, data, AccountStatus.ACTIVE)


@accounts.command()
@click.argument("email")
@click.argument("plan")
@storefront_option
@json_option
@data_option
def plan(email: str, plan: str, storefront: str | None, as_json: bool, data: Path | None) -> None:
    """Move an account to another plan; its monthly credits are replaced at once."""
    with opened(data) as services, services.db.transaction() as connection:
        found = find_account(connection, email, storefront)
        account = change_plan(connection, services.catalog, found.id, plan)
    show_row(account_row(account), as_json=as_json)


def account_row(account: Account) -> dict[str, Any]:
    """What the operator sees of an account; amounts in credits."""
    return {
        "id": account.id,
        "email": account.email,
        "storefront": account.storefront,
        "plan": account.plan,
        "status": account.status.value,
        "available": credits_of(account.available_tenths),
        "held": credits_of(account.held_tenths),
        "created_at": account.created_at,
        "period_end": account.period_end,
    }


def _set_status(
    email: str, storefront: str | None, data: Path | None, status: AccountStatus
) -> None:
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
        set_status(connection, account.id, status)
    click.echo(f"{account.email} on {account.storefront} is {status.value}.")
