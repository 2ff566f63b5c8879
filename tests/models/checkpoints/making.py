"""Engines of the catalogue on a folder of weights that a test wrote."""

from __future__ import annotations

from pathlib import Path

from farm.catalog import built_in_catalog
from models import registry
from models.base import Engine


def engine(model_id: str, folder: Path, *interrupts: type[Exception], **options: str) -> Engine:
    """The engine of a card, made as a worker makes it where ``FARM_WEIGHTS`` is a folder."""
    card = built_in_catalog().models[model_id]
    card = card.model_copy(update={"options": {**card.options, **options}})
    return registry.create(card, str(folder), cache=folder / "cache", interrupts=interrupts)
