"""``farm credits`` and ``farm ledger``: give and correct credits, look at them, check the books."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from farm import ledger
from farm.accounts import Account, find_account, get_account
from farm.audit import audit as run_audit
from farm.audit import summary
from farm.cli.common import (
    credits_as_tenths,
    credits_of,
    data_option,
    json_option,
    opened,
    say_credits,
    show_rows,
    storefront_option,
)
from farm.errors import FieldError, InsufficientCredits, InvalidRequest

_HISTORY_COLUMNS = ("at", "kind", "available", "held", "job_id", "reason")
_AMOUNT = click.argument("tenths", metavar="CREDITS", type=credits_as_tenths)
_REASON = click.option("--reason", required=True, help="Why; kept in the ledger for ever.")


@click.group("credits")
def credits_() -> None:
    """Give and correct credits, show where they came from and went."""


@credits_.command()
@click.argument("email")
@_AMOUNT
@_REASON
@storefront_option
@data_option
def grant(email: str, tenths: int, reason: str, storefront: str | None, data: Path | None) -> None:
    """Give an account credits for nothing; they do not expire."""
    if tenths <= 0:
        raise InvalidRequest([FieldError("credits", "must be above 0.")])
    after = _post(email, tenths, reason, "adjust", storefront, data)
    click.echo(
        f"{after.email} on {after.storefront} got {say_credits(tenths)} credits; "
        f"available now: {say_credits(after.available_tenths)}."
    )


@credits_.command()
@click.argument("email")
@_AMOUNT
@_REASON
@storefront_option
@data_option
def purchase(
    email: str, tenths: int, reason: str, storefront: str | None, data: Path | None
) -> None:
    """Book credits that an account has paid for; they do not expire."""
    after = _post(email, tenths, reason, "purchase", storefront, data)
    click.echo(
        f"{after.email} on {after.storefront} bought {say_credits(tenths)} credits; "
        f"available now: {say_credits(after.available_tenths)}."
    )


# So that -5 is read as a number and not as an option.
@credits_.command(context_settings={"ignore_unknown_options": True})
@click.argument("email")
@_AMOUNT
@_REASON
@storefront_option
@data_option
def adjust(email: str, tenths: int, reason: str, storefront: str | None, data: Path | None) -> None:
    """Correct an account by +CREDITS or -CREDITS, never below what its jobs hold."""
    try:
        after = _post(email, tenths, reason, "adjust", storefront, data)
    except InsufficientCredits as error:
        raise InvalidRequest(
            [
                FieldError(
                    "credits",
                    f"cannot take {say_credits(error.required_tenths)} from {email}: "
                    f"{say_credits(error.available_tenths)} are available, and what jobs hold "
                    "cannot be taken.",
                )
            ]
        ) from error
    click.echo(
        f"{after.email} on {after.storefront} was corrected by "
        f"{say_credits(tenths, sign=True)} credits; "
        f"available now: {say_credits(after.available_tenths)}."
    )


@credits_.command()
@click.argument("email")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@storefront_option
@json_option
@data_option
def history(
    email: str, limit: int, storefront: str | None, as_json: bool, data: Path | None
) -> None:
    """List what happened to an account's credits, newest first.

    "available" and "held" are what each entry added to or took from them.
    """
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
        found = ledger.history(connection, account.id, limit)
    rows = [_history_row(movement, as_json=as_json) for movement in found]
    show_rows(rows, _HISTORY_COLUMNS, as_json=as_json, empty="No entries.")


def _post(
    email: str,
    tenths: int,
    reason: str,
    kind: Literal["purchase", "adjust"],
    storefront: str | None,
    data: Path | None,
) -> Account:
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
        ledger.grant(connection, account.id, tenths, reason=reason, kind=kind)
        return get_account(connection, account.id)


def _history_row(movement: ledger.Movement, *, as_json: bool) -> dict[str, Any]:
    # People see the sign, and nothing where nothing moved.
    available, held = (
        credits_of(tenths) if as_json else say_credits(tenths, sign=True) if tenths else ""
        for tenths in (movement.available_tenths, movement.held_tenths)
    )
    return {
        "at": movement.at,
        "kind": movement.kind,
        "available": available,
        "held": held,
        "job_id": movement.job_id,
        "reason": movement.reason,
        "transaction": movement.transaction_id,
    }


@click.group("ledger")
def ledger_() -> None:
    """Check the books."""


@ledger_.command()
@json_option
@data_option
@click.pass_context
def audit(ctx: click.Context, as_json: bool, data: Path | None) -> None:
    """Check every invariant of jobs and money. Exit 0 only if all of them hold."""
    with opened(data) as services:
        findings = run_audit(services)
    if as_json:
        rows = [{**asdict(finding), "holds": finding.holds} for finding in findings]
        show_rows(rows, (), as_json=True, empty="")
    else:
        for finding in findings:
            verdict = "holds " if finding.holds else "BROKEN"
            broken = f" ({finding.offenders}, such as {finding.example})"
            click.echo(
                f"{finding.number}  {verdict}  {finding.sentence}{'' if finding.holds else broken}"
            )
        click.echo(summary(findings))
    ctx.exit(0 if all(finding.holds for finding in findings) else 1)
