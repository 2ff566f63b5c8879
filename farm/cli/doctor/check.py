"""What every look of the doctor gets, and what it answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from farm.catalog import Catalog
from farm.config import Settings
from farm.db import Database


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``says`` is a sentence, with what to type where it is not ok."""

    name: str
    ok: bool
    says: str


@dataclass(frozen=True, slots=True)
class Patient:
    """The farm that is looked at: its settings, its catalogue and the model queues that somebody
    has to serve. Only a look that asks the database may use ``db``, which opens on use."""

    settings: Settings
    catalog: Catalog
    queues: tuple[str, ...]
    db: Database


Look = Callable[[Patient], Iterator[Check]]


def span(seconds: float) -> str:
    """Seconds as people say them: ``75 s``, ``12 min``, ``3 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
