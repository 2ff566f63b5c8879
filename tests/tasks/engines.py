"""Engines for tests of what surrounds an engine: they compute nothing and do as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from farm.cards import ModelCard
from farm.errors import WeightsMissing
from farm.types import Artifact, OnStep, RunRequest
from tasks.residency import GIB, Residency

Body = Callable[[RunRequest, OnStep], None]


@dataclass
class ScriptedEngine:
    """Keeps the protocol of ``models.base.Engine``; ``body`` is what happens inside ``run``."""

    served_by: str
    body: Body
    size_bytes: int = GIB
    resident_bytes: int = 0
    loads: int = 0
    unloads: int = 0

    def load(self, device: str) -> None:
        self.loads += 1
        self.resident_bytes = self.size_bytes

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        assert self.resident_bytes
        self.body(request, on_step)
        return [Artifact(b"picture", "image/png", "images", "png", {"seed": 7})]

    def unload(self) -> None:
        self.unloads += 1
        self.resident_bytes = 0


@dataclass
class Workshop:
    """A residency of scripted engines, and every engine it made."""

    body: Body = lambda request, on_step: on_step(1, 1)
    budget_gib: float = 100.0
    sizes_gib: dict[str, float] = field(default_factory=dict)
    unloadable: set[str] = field(default_factory=set)
    engines: dict[str, ScriptedEngine] = field(default_factory=dict)

    def create(self, card: ModelCard) -> ScriptedEngine:
        if card.id in self.unloadable:
            raise WeightsMissing(f"no weights for {card.id}")
        size = int(self.sizes_gib.get(card.id, 1.0) * GIB)
        engine = ScriptedEngine(card.id, self.act, size)
        self.engines[card.id] = engine
        return engine

    def act(self, request: RunRequest, on_step: OnStep) -> None:
        """Whatever ``body`` is at the time."""
        self.body(request, on_step)

    def residency(self, *, trust_cards: bool = True) -> Residency:
        budget = int(self.budget_gib * GIB)
        return Residency(self.create, lambda: "cpu", lambda device: budget, trust_cards=trust_cards)


def until(event: threading.Event, seconds: float = 20.0) -> None:
    """Wait for a test's event, with a bound."""
    assert event.wait(seconds)
