"""``farm credits`` and ``farm ledger``: give credits, check the books."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from farm import ledger
from farm.accounts import find_account, get_account
from farm.audit import audit as run_audit
from farm.audit import summary
from farm.cli.common import (
    credits_as_tenths,
    credits_of,
    data_option,
    json_option,
    opened,
    show_rows,
    storefront_option,
)


@click.group("credits")
def credits_() -> None:
    """Give credits."""


@credits_.command()
@click.argument("email")
@click.argument("tenths", metavar="CREDITS", type=credits_as_tenths)
@click.option("--reason", required=True, help="Why; kept in the ledger for ever.")
@storefront_option
@data_option
def grant(email: str, tenths: int, reason: str, storefront: str | None, data: Path | None) -> None:
    """Give an account credits that do not expire."""
    with opened(data) as services, services.db.transaction() as connection:
        account = find_account(connection, email, storefront)
        ledger.grant(connection, account.id, tenths, reason=reason)
        after = get_account(connection, account.id)
    click.echo(
        f"{after.email} on {after.storefront} got {credits_of(tenths):g} credits; "
        f"available now: {credits_of(after.available_tenths):g}."
    )


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
