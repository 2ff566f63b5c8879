"""Which engines a worker's child keeps loaded between jobs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from billiard.exceptions import SoftTimeLimitExceeded

from farm.cards import ModelCard
from farm.nodes import HeldModel
from models.base import CPU, Engine

GIB = 1 << 30

_log = logging.getLogger(__name__)


class LoadInterrupted(SoftTimeLimitExceeded):  # type: ignore[misc]
    """The time limit came in the middle of a load. A library that was imported by half cannot be
    imported again, so this process is of no more use."""


@contextlib.contextmanager
def in_one_piece() -> Iterator[None]:
    """The block loads something. Raises LoadInterrupted where the time limit comes meanwhile."""
    try:
        yield
    except SoftTimeLimitExceeded as error:
        raise LoadInterrupted from error


class Residency:
    """Loaded engines, the least recently used first, within a budget of device memory.

    An engine is loaded at its first use. What it needs is its card's ``vram_gb`` (weights and
    working memory) or what it was measured to hold, if that is more; what an idle one needs is
    what it was measured to hold. An engine that alone exceeds the budget is tried all the
    same: the device knows best. A hosted model takes nothing of any device. Used by one thread;
    ``held`` and ``device`` may be read by any.

    Args:
        create: makes the engine of a card, not loaded.
        device: where engines are loaded; asked at the first use, as the answer may start CUDA.
        budget_bytes: how much a device may hold.
        trust_cards: False where the cards' sizes are not those of the weights in use.
    """

    def __init__(
        self,
        create: Callable[[ModelCard], Engine],
        device: Callable[[], str],
        budget_bytes: Callable[[str], int],
        *,
        trust_cards: bool = True,
    ) -> None:
        self._create = create
        self._device = device
        self._budget_bytes = budget_bytes
        self._trust_cards = trust_cards
        self._loaded: OrderedDict[str, Engine] = OrderedDict()
        self._measured: dict[str, int] = {}
        self._in_use: set[str] = set()
        # Each is replaced as a whole and never changed, which is what other threads may read.
        self._held: Mapping[str, HeldModel] = {}
        self._picked: str | None = None

    @property
    def device(self) -> str | None:
        """Where engines are loaded; None before the first use."""
        return self._picked

    @property
    def held(self) -> Mapping[str, HeldModel]:
        """The loaded models, as of one moment; another object after every load and unload."""
        return self._held

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids of the loaded models, the least recently used first."""
        return tuple(self._loaded)

    @contextlib.contextmanager
    def use(self, card: ModelCard) -> Iterator[Engine]:
        """The card's engine, loaded, and safe from being dropped inside the block.

        Raises:
            WeightsMissing, ExtraMissing, OutOfMemory, EngineFault: it cannot be loaded.
            LoadInterrupted: its time was up before it was loaded.
        """
        with in_one_piece():
            engine = self._find(card)
        self._loaded.move_to_end(card.id)
        self._in_use.add(card.id)
        try:
            yield engine
        finally:
            self._in_use.discard(card.id)

    def clear(self) -> None:
        """Unload every engine that is not in use, and give its memory back to the device."""
        for model_id in self.loaded:
            if model_id not in self._in_use:
                self._drop(model_id)

    def _find(self, card: ModelCard) -> Engine:
        if card.is_hosted:
            # Asking for the device would load torch, which need not be installed here.
            device = CPU
        else:
            self._picked = device = self._device()
            self._make_room(card, device)
        return self._loaded.get(card.id) or self._load(card, device)

    def _load(self, card: ModelCard, device: str) -> Engine:
        started = time.monotonic()
        engine = self._create(card)
        engine.load(device)
        self._loaded[card.id] = engine
        self._measured[card.id] = size = engine.resident_bytes
        seconds = time.monotonic() - started
        self._held = {**self._held, card.id: HeldModel(size, round(seconds, 3))}
        _log.info("loaded %s on %s in %.1f s: %.2f GiB", card.id, device, seconds, size / GIB)
        return engine

    def _make_room(self, card: ModelCard, device: str) -> None:
        budget = self._budget_bytes(device)
        while self._needed(card) + self._held_by_others(card.id) > budget:
            idle = [m for m in self._loaded if m != card.id and m not in self._in_use]
            if not idle:
                return
            self._drop(idle[0])

    def _needed(self, card: ModelCard) -> int:
        from_card = int(card.vram_gb * GIB) if self._trust_cards else 0
        return max(from_card, self._measured.get(card.id, 0))

    def _held_by_others(self, model_id: str) -> int:
        return sum(self._measured[other] for other in self._loaded if other != model_id)

    def _drop(self, model_id: str) -> None:
        # Out of the table first: an engine whose unload fails is not used again.
        engine = self._loaded.pop(model_id)
        self._held = {name: held for name, held in self._held.items() if name != model_id}
        engine.unload()
        _log.info("unloaded %s", model_id)
