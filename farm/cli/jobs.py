"""``farm jobs``: look at jobs, cancel one."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import Any

import click

from farm.accounts import find_account
from farm.cli.common import (
    credits_of,
    data_option,
    json_option,
    opened,
    show_row,
    show_rows,
    storefront_option,
)
from farm.events import Announcer
from farm.settle import cancel as cancel_job
from farm.types import JobState
from farm.views import JobView, find_job, list_jobs, recent_jobs

_COLUMNS = ("id", "state", "model", "attempt", "credits", "created_at", "finished_at", "error")


@click.group()
def jobs() -> None:
    """Look at jobs, cancel one."""


@jobs.command("list")
@click.option("--account", "email", metavar="EMAIL", help="Only this account's.")
@click.option("--state", type=click.Choice([state.value for state in JobState]))
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True)
@storefront_option
@json_option
@data_option
def list_(
    email: str | None,
    state: str | None,
    limit: int,
    days: int,
    storefront: str | None,
    as_json: bool,
    data: Path | None,
) -> None:
    """List the newest jobs, newest first. --days counts only with --account."""
    with opened(data) as services:
        if email is None:
            wanted = JobState(state) if state else None
            found = recent_jobs(services.db, limit=limit, state=wanted)
        else:
            with services.db.transaction() as connection:
                account = find_account(connection, email, storefront)
            found, _ = list_jobs(services.db, account.id, limit=limit, days=days)
            found = [job for job in found if state in (None, job.state.value)]
    rows = [_row(job) for job in found]
    show_rows(rows, _COLUMNS, as_json=as_json, empty="There are no such jobs.")


@jobs.command()
@click.argument("job_id", type=click.UUID)
@json_option
@data_option
def show(job_id: uuid.UUID, as_json: bool, data: Path | None) -> None:
    """Show everything about one job."""
    with opened(data) as services:
        job = find_job(services.db, job_id)
    show_row(_row(job) | _more(job), as_json=as_json)


@jobs.command()
@click.argument("job_id", type=click.UUID)
@data_option
def cancel(job_id: uuid.UUID, data: Path | None) -> None:
    """Cancel a job: its credits go back now; a running one stops at its next model step."""
    with opened(data) as services:
        state = cancel_job(services.db, None, job_id)
        if state is JobState.CANCELLED:
            with contextlib.closing(Announcer(services.settings.limits_url)) as announcer:
                announcer.cancelled(job_id)
    if state is JobState.CANCELLED:
        click.echo(f"Job {job_id} is cancelled.")
    else:
        click.echo(f"Job {job_id} had already ended: {state.value}.")


def _row(job: JobView) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state.value,
        "model": job.model,
        "sold_as": job.sold_model,
        "operation": job.operation,
        "attempt": job.attempt,
        "credits": credits_of(job.credits_tenths),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "error": job.error_message,
    }


def _more(job: JobView) -> dict[str, Any]:
    return {
        "account_id": job.account_id,
        "storefront": job.storefront,
        "price": credits_of(job.price_tenths),
        "price_rule": job.price_rule,
        "progress": f"{job.step} of {job.steps}",
        "served_by": job.served_by,
        "processing_ms": job.processing_ms,
        "params": dict(job.params),
        "facts": dict(job.facts),
        "error_code": job.error_code,
        "output_path": job.output_path,
        "output_expires_at": job.output_expires_at,
        "warnings": list(job.warnings),
    }
