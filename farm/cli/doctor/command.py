"""``farm doctor``: looks at one thing after the other, whatever the others said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from farm.cli.common import data_option, json_option, show_rows
from farm.cli.doctor import books, servers, setup, work
from farm.cli.doctor.check import Check, Look, Patient
from farm.config import Settings, load_settings
from farm.errors import FarmError
from farm.services import open_catalog, open_database, served_queues
from farm.upstreams import load_upstreams

_FIRST: tuple[tuple[str, Look], ...] = (("database", servers.database),)
_ASK_IT: tuple[tuple[str, Look], ...] = (
    ("control", work.control),
    ("queues", work.queues),
    ("jobs", work.jobs_stuck),
    ("waits", work.waits),
    ("messages", work.messages),
    ("workers", work.broken_workers),
    ("webhooks", books.webhooks),
    ("audit", books.audit),
    ("plans", books.plans),
)
"""Those that ask the database: where that is away they would all say the same."""
_APART: tuple[tuple[str, Look], ...] = (
    ("broker", servers.broker),
    ("rate limits", servers.limits),
    ("storage", servers.storage),
    ("storefronts", setup.storefronts),
    ("upstreams", setup.upstreams),
    ("weights", setup.weights),
)


@click.command()
@json_option
@data_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, data: Path | None) -> None:
    """Check servers, queues, workers, jobs and books. Exit 0 only if all is well."""
    checks = list(_checks(load_settings(data)))
    if as_json:
        show_rows([asdict(check) for check in checks], (), as_json=True, empty="")
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.says}")
    ctx.exit(0 if all(check.ok for check in checks) else 1)


def _checks(settings: Settings) -> Iterator[Check]:
    catalog = open_catalog(settings)
    try:
        upstreams = load_upstreams(settings, catalog)
    except FarmError:
        upstreams = {}  # one of the looks says it
    db = open_database(settings)
    patient = Patient(settings, catalog, served_queues(catalog, upstreams), db)
    try:
        first = list(_looked(_FIRST, patient))
        yield from first
        yield from _looked(_APART, patient)
        if first[0].ok:
            yield from _looked(_ASK_IT, patient)
        else:
            names = ", ".join(name for name, _ in _ASK_IT)
            yield Check("the rest", False, f"{names}: not looked at before the database is well.")
    finally:
        db.dispose()


def _looked(looks: tuple[tuple[str, Look], ...], patient: Patient) -> Iterator[Check]:
    for name, look in looks:
        try:
            yield from look(patient)
        except FarmError as error:
            yield Check(name, False, str(error))
