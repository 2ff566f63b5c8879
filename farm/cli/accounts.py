"""``farm accounts``: make, show, block and move accounts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import click

from farm.accounts import (
    Account,
    PlanChange,
    change_plan,
    create_account,
    find_account,
    set_status,
)
from farm.catalog import Plan
from farm.cli.common import (
    credits_as_tenths,
    credits_of,
    data_option,
    json_option,
    opened,
    say_credits,
    show_row,
    show_rows,
    storefront_option,
)
from farm.keys import create_key
from farm.types import AccountStatus
from farm.usage import DAYS_MAX, UsageRow, usage_by_day

_USAGE_COLUMNS = ("day", "operation", "model", "jobs", "succeeded", "failed", "credits")


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
@click.option(
    "--now", is_flag=True, help="Take a smaller plan at once, not when the month is over."
)
@storefront_option
@json_option
@data_option
def plan(
    email: str, plan: str, now: bool, storefront: str | None, as_json: bool, data: Path | None
) -> None:
    """Move an account to another plan.

    A larger plan begins at once, with its monthly credits less those that the month has had.
    A smaller one begins when the month is over; naming the present plan takes that back.
    """
    with opened(data) as services, services.db.transaction() as connection:
        found = find_account(connection, email, storefront)
        change = change_plan(connection, services.catalog, found.id, plan, at_once=now)
        plans = services.catalog.storefronts[found.storefront].plans
    if as_json:
        given = {
            "granted": credits_of(change.granted_tenths),
            "taken_back": credits_of(change.taken_tenths),
        }
        show_row({**account_row(change.account), **given}, as_json=True)
    else:
        for sentence in _what_happens(change, plans):
            click.echo(sentence)


@accounts.command()
@click.argument("email")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=30, show_default=True)
@storefront_option
@json_option
@data_option
def usage(email: str, days: int, storefront: str | None, as_json: bool, data: Path | None) -> None:
    """Show what an account used: by day (UTC, of submitting) and kind, newest day first.

    "failed" is every job that ended without a result, cancelled ones too: they cost nothing.
    """
    with opened(data) as services:
        with services.db.transaction() as connection:
            account = find_account(connection, email, storefront)
        found = usage_by_day(services.db, account.id, days)
    rows = [_usage_row(row) for row in found]
    show_rows(rows, _USAGE_COLUMNS, as_json=as_json, empty=f"No jobs in the last {days} days.")


def account_row(account: Account) -> dict[str, Any]:
    """What the operator sees of an account; amounts in credits."""
    return {
        "id": account.id,
        "email": account.email,
        "storefront": account.storefront,
        "plan": account.plan,
        "next_plan": account.next_plan,
        "status": account.status.value,
        "available": credits_of(account.available_tenths),
        "held": credits_of(account.held_tenths),
        "created_at": account.created_at,
        "period_end": account.period_end,
    }


def _what_happens(change: PlanChange, plans: Mapping[str, Plan]) -> list[str]:
    """A change of plan in sentences: what is so now, and what the month's end brings."""
    account = change.account
    end = f"{account.period_end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    after = plans[account.next_plan or account.plan]
    who = f"{account.email} on {account.storefront}"
    if account.next_plan:
        first = f"{who} stays on {account.plan} until {end}, then goes to {account.next_plan}."
    else:
        first = f"{who} is on {account.plan} now."
    sentences = [first]
    if change.granted_tenths:
        sentences.append(f"Granted now: {say_credits(change.granted_tenths)} credits.")
    if change.taken_tenths:
        sentences.append(f"Taken back now: {say_credits(change.taken_tenths)} credits.")
    sentences.append(
        f"Available now: {say_credits(account.available_tenths)} credits, "
        f"held: {say_credits(account.held_tenths)}."
    )
    sentences.append(
        f"On {end} what is left of the monthly credits goes and {after.credits_month} come."
    )
    return sentences


def _usage_row(row: UsageRow) -> dict[str, Any]:
    return {
        "day": row.day.isoformat(),
        "operation": row.operation,
        "model": row.model,
        "jobs": row.jobs,
        "succeeded": row.succeeded,
        "failed": row.failed,
        "credits": credits_of(row.charged_tenths),
    }


def _set_status(
    email: str, storefront: str | None, data: Path | None, status: AccountStatus
) -> None:
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
        set_status(connection, account.id, status)
    click.echo(f"{account.email} on {account.storefront} is {status.value}.")
