"""What an engine under test is made from, without the catalogue."""

from __future__ import annotations

from pathlib import Path

from models.base import EngineSetup


def setup(model_id: str, served_by: str, cache: Path, *interrupts: type[Exception]) -> EngineSetup:
    """An engine's setup for the tiny profile."""
    return EngineSetup(model_id, "tiny", {}, {}, served_by, cache, interrupts)
