"""What an engine under test is made from, without the catalogue."""

from __future__ import annotations

from pathlib import Path

from farm.catalog import built_in_catalog
from models.base import EngineSetup


def setup(model_id: str, served_by: str, cache: Path, *interrupts: type[Exception]) -> EngineSetup:
    """An engine's setup for the tiny profile."""
    source = built_in_catalog().models["sdxl"].weights
    return EngineSetup(served_by.removesuffix("-tiny"), "tiny", source, cache, interrupts)
