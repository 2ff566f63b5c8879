"""``farm doctor``: is everything here that the farm needs, and what to type where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from farm.accounts import stranded_accounts
from farm.broker import make_celery, messages_waiting
from farm.cli.cluster import workers_by_queue
from farm.cli.common import data_option, json_option, show_rows
from farm.cli.models import ask_engines, asked_about
from farm.config import Settings, load_settings, make_folder
from farm.db import schema_is_current
from farm.errors import FarmError, SetupError
from farm.services import open_catalog, open_database, served_queues
from farm.storage import open_storage
from farm.upstreams import load_upstreams


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``says`` is a sentence, with what to type where it is not ok."""

    name: str
    ok: bool
    says: str


@click.command()
@json_option
@data_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, data: Path | None) -> None:
    """Check database, broker, storage, weights and workers. Exit 0 only if all is well."""
    settings = load_settings(data)
    checks = [check for name, look in _LOOKS for check in _looked(name, look, settings)]
    if as_json:
        show_rows([asdict(check) for check in checks], (), as_json=True, empty="")
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.says}")
    ctx.exit(0 if all(check.ok for check in checks) else 1)


def _looked(
    name: str, look: Callable[[Settings], Iterator[Check]], settings: Settings
) -> Iterator[Check]:
    try:
        yield from look(settings)
    except FarmError as error:
        yield Check(name, False, str(error))


def _database(settings: Settings) -> Iterator[Check]:
    db = open_database(settings)
    try:
        current = db.attempt(schema_is_current)
    finally:
        db.dispose()
    if current:
        yield Check("database", True, "it answers and has this version's schema.")
    else:
        yield Check("database", False, "it has another schema: run `farm db upgrade`.")


def _plans(settings: Settings) -> Iterator[Check]:
    db, catalog = open_database(settings), open_catalog(settings)
    try:
        lost = db.attempt(lambda connection: stranded_accounts(connection, catalog))
    finally:
        db.dispose()
    if not lost:
        yield Check("plans", True, "every account is on a plan of the catalogue.")
    for account in lost:
        says = (
            f"{account.email} is on {account.storefront}'s plan {account.plan}, which the "
            f"catalogue does not have: run `farm accounts plan {account.email} PLAN`."
        )
        yield Check("plans", False, says)


def _broker(settings: Settings) -> Iterator[Check]:
    messages_waiting(make_celery(settings, open_catalog(settings)))
    yield Check("broker", True, "it answers.")


def _workers(settings: Settings) -> Iterator[Check]:
    catalog = open_catalog(settings)
    serving = workers_by_queue(make_celery(settings, catalog))
    for queue in served_queues(catalog, load_upstreams(settings, catalog)):
        nodes = serving.get(queue, [])
        says = f"served by {', '.join(sorted(nodes))}."
        if not nodes:
            model_id = queue.removeprefix("gpu.")
            named = model_id if model_id in catalog.models else queue
            says = f"no worker serves it: run `farm worker --queues {named}`."
        yield Check(f"queue {queue}", bool(nodes), says)


def _storage(settings: Settings) -> Iterator[Check]:
    make_folder(settings.data)
    open_storage(settings).check()
    yield Check("storage", True, f"{settings.storage} can be written to.")


def _weights(settings: Settings) -> Iterator[Check]:
    for answer in ask_engines("check", asked_about(settings), settings):
        yield Check(f"weights {answer['id']}", answer["ok"], answer["message"])


def _upstreams(settings: Settings) -> Iterator[Check]:
    """Whether each one's key is here; nobody is called."""
    for model_id, upstream in load_upstreams(settings, open_catalog(settings)).items():
        says = f"{upstream.shown} runs it as {upstream.model}; {upstream.key_env} is set here."
        try:
            upstream.key()
        except SetupError as error:
            yield Check(f"upstream {model_id}", False, str(error))
        else:
            yield Check(f"upstream {model_id}", True, says)


_LOOKS: tuple[tuple[str, Callable[[Settings], Iterator[Check]]], ...] = (
    ("database", _database),
    ("plans", _plans),
    ("broker", _broker),
    ("storage", _storage),
    ("weights", _weights),
    ("upstreams", _upstreams),
    ("workers", _workers),
)
