"""``farm models``: what is offered, and whether its weights are here.

The engines' package is never imported here: what must look at weights runs as its own process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from farm.catalog import Catalog, HubSource, ModelCard
from farm.cli.common import data_option, json_option, show_rows
from farm.config import Settings, load_settings
from farm.errors import ExtraMissing, WeightsMissing
from farm.services import open_catalog


@click.group()
def models() -> None:
    """What the farm offers, and whether its weights are here."""


@models.command("list")
@json_option
@data_option
def list_(as_json: bool, data: Path | None) -> None:
    """List the catalogue's models."""
    settings = load_settings(data)
    rows = [_row(card, settings) for card in open_catalog(settings).models.values()]
    columns = ("id", "type", "served_by", "vram_gb", "typical_s", "license", "weights")
    show_rows(rows, columns, as_json=as_json, empty="The catalogue is empty.")


@models.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@data_option
def pull(ids: Sequence[str], data: Path | None) -> None:
    """Fetch models' weights, exactly those that the catalogue names."""
    settings = load_settings(data)
    failures = []
    for answer in ask_engines("pull", _chosen(open_catalog(settings), ids), settings):
        if answer["ok"]:
            click.echo(f"{answer['id']}: {answer['message']}")
        else:
            failures.append(answer["message"])
    if failures:
        raise WeightsMissing(" ".join(failures))


@models.command()
@click.argument("ids", nargs=-1, metavar="ID…")
@json_option
@data_option
@click.pass_context
def check(ctx: click.Context, ids: Sequence[str], as_json: bool, data: Path | None) -> None:
    """Check that models' weights are here and whole; all models where none is named."""
    settings = load_settings(data)
    answers = list(ask_engines("check", _chosen(open_catalog(settings), ids), settings))
    if as_json:
        show_rows(answers, (), as_json=True, empty="")
    else:
        for answer in answers:
            click.echo(f"{answer['id']}: {'' if answer['ok'] else 'MISSING: '}{answer['message']}")
    ctx.exit(0 if all(answer["ok"] for answer in answers) else 1)


def ask_engines(
    action: str, cards: Sequence[ModelCard], settings: Settings
) -> Iterator[dict[str, Any]]:
    """Have the engines' package pull or check weights; yields its answer for each model.

    Raises:
        ExtraMissing: the worker extra is not installed here.
    """
    request = {
        "weights": settings.weights,
        # Where the workers of this data folder keep what they build.
        "cache": str(settings.data / "weights"),
        "models": [_asked(card, settings) for card in cards],
    }
    with subprocess.Popen(
        [sys.executable, "-m", "models", action],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request))
        process.stdin.close()
        answered = 0
        for line in process.stdout:
            answered += 1
            yield json.loads(line)
    if answered < len(cards):
        raise ExtraMissing(
            "The weights could not be looked at (see above). Where the worker extra is not "
            "installed, run `pip install 'media-farm[worker]'`."
        )


def _chosen(catalog: Catalog, ids: Sequence[str]) -> list[ModelCard]:
    cards = []
    for name in ids or catalog.models:
        card = catalog.card(name)
        if card is None:
            known = ", ".join(catalog.models)
            raise click.BadParameter(f"{name!r} is none of {known}.", param_hint="ID")
        cards.append(card)
    return cards


def _asked(card: ModelCard, settings: Settings) -> dict[str, Any]:
    """What ``python -m models`` needs to know of a card."""
    return {
        "id": card.id,
        "served_by": card.served_by(settings.weights),
        "options": card.options,
        "sources": _sources(card),
    }


def _sources(card: ModelCard) -> dict[str, Any]:
    return {part: source.model_dump() for part, source in card.weights.items()}


def _row(card: ModelCard, settings: Settings) -> dict[str, Any]:
    published = [
        source.hub_id if isinstance(source, HubSource) else source.url.rpartition("/")[2]
        for source in card.weights.values()
    ]
    more = f" and {len(published) - 1} more" if published[1:] else ""
    places = {"tiny": "built-in tiny", "hub": f"{published[0]}{more}"}
    return {
        "id": card.id,
        "title": card.title,
        "type": card.type,
        "operation": card.operation,
        "queue": card.queue,
        "aliases": list(card.aliases),
        "vram_gb": card.vram_gb,
        "typical_s": list(card.typical_s),
        "license": card.license,
        "non_commercial": card.non_commercial,
        "served_by": card.served_by(settings.weights),
        "sources": _sources(card),
        "weights": places.get(settings.weights, f"{settings.weights}/{card.id}"),
    }
