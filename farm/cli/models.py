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

from farm.cards import HubSource, ModelCard
from farm.catalog import Catalog
from farm.cli.common import data_option, json_option, show_rows
from farm.config import Settings, load_settings
from farm.errors import ExtraMissing, WeightsMissing
from farm.offers import Offers
from farm.services import offers_of, open_catalog
from farm.upstreams import load_upstreams

RESULT_MODERATION = "result-moderation"
"""What ``pull`` and ``check`` call the classifier that looks at results."""


@click.group()
def models() -> None:
    """What the farm offers, and whether its weights are here."""


@models.command("list")
@json_option
@data_option
def list_(as_json: bool, data: Path | None) -> None:
    """List the catalogue's models."""
    settings = load_settings(data)
    catalog = open_catalog(settings)
    offers = offers_of(settings, catalog, load_upstreams(settings, catalog))
    rows = [_row(card, settings, offers) for card in catalog.models.values()]
    columns = ("id", "queue", "served_by", "vram_gb", "typical_s", "license", "weights")
    show_rows(rows, columns, as_json=as_json, empty="The catalogue is empty.")


@models.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@data_option
def pull(ids: Sequence[str], data: Path | None) -> None:
    """Fetch models' weights, exactly those that the catalogue names."""
    settings = load_settings(data)
    failures = []
    for answer in ask_engines("pull", asked_about(settings, ids), settings):
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
    answers = list(ask_engines("check", asked_about(settings, ids), settings))
    if as_json:
        show_rows(answers, (), as_json=True, empty="")
    else:
        for answer in answers:
            click.echo(f"{answer['id']}: {'' if answer['ok'] else 'MISSING: '}{answer['message']}")
    ctx.exit(0 if all(answer["ok"] for answer in answers) else 1)


def asked_about(settings: Settings, ids: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What :func:`ask_engines` needs to know of the models of these names, or of everything
    that this farm's workers load.

    Raises:
        click.BadParameter: a name is not known.
    """
    catalog = open_catalog(settings)
    if not ids:
        judges = [_asked_judge(catalog, settings)] if settings.result_moderation else []
        loaded = [card for card in catalog.models.values() if not card.is_hosted]
        return [_asked(card, settings) for card in loaded] + judges
    asked = []
    for name in ids:
        card = catalog.card(name)
        if card is None and name != RESULT_MODERATION:
            known = ", ".join([*catalog.models, RESULT_MODERATION])
            raise click.BadParameter(f"{name!r} is none of {known}.", param_hint="ID")
        asked.append(_asked(card, settings) if card else _asked_judge(catalog, settings))
    return asked


def ask_engines(
    action: str, asked: Sequence[dict[str, Any]], settings: Settings
) -> Iterator[dict[str, Any]]:
    """Have the engines' package pull or check weights; yields its answer for each model.

    Raises:
        ExtraMissing: the worker extra is not installed here.
    """
    # The cache is where the workers of this data folder keep what they build and fetch.
    request = {"cache": str(settings.data / "weights"), "models": asked}
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
    if answered < len(asked):
        raise ExtraMissing(
            "The weights could not be looked at (see above). Where the worker extra is not "
            "installed, run `pip install 'media-farm[worker]'`."
        )


def _asked(card: ModelCard, settings: Settings) -> dict[str, Any]:
    return {
        "id": card.id,
        "weights": settings.weights,
        "served_by": card.served_by(settings.weights),
        "options": card.options,
        "sources": _sources(card),
    }


def _asked_judge(catalog: Catalog, settings: Settings) -> dict[str, Any]:
    source = catalog.result_moderation
    return {
        "id": RESULT_MODERATION,
        "weights": settings.result_moderation or "hub",
        "refused": settings.refused_labels,
        "source": source.model_dump() if source else None,
    }


def _sources(card: ModelCard) -> dict[str, Any]:
    return {part: source.model_dump() for part, source in card.weights.items()}


def _row(card: ModelCard, settings: Settings, offers: Offers) -> dict[str, Any]:
    published = [
        source.hub_id if isinstance(source, HubSource) else source.url.rpartition("/")[2]
        for source in card.weights.values()
    ]
    more = f" and {len(published) - 1} more" if published[1:] else ""
    places = {"tiny": "built-in tiny", "hub": f"{published[0] if published else '-'}{more}"}
    weights = places.get(settings.weights, f"{settings.weights}/{card.id}")
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
        "served_by": offers.makers(card, card.operations, settings.weights) or "-",
        "sources": _sources(card),
        "weights": "-" if card.is_hosted else weights,
    }
