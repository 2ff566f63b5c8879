"""How long each model takes here: measured, asked of the database once a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from api.log import get_logger
from farm.cards import ModelCard
from farm.errors import DatabaseUnavailable

ASK_EVERY_S = 60.0

_log = get_logger("api.typical")


class TypicalSeconds:
    """The median seconds of each model's last jobs, at most a minute old. Thread-safe.

    One caller asks while the others get what is known; while the database is away that is
    what it said last.

    Args:
        ask: seconds by model id; models that have not run yet are left out.
    """

    def __init__(
        self, ask: Callable[[], Mapping[str, float]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = -ASK_EVERY_S
        self._known: Mapping[str, float] = {}

    def estimate(self, card: ModelCard) -> float:
        """How many seconds a job of this model will run: as measured here, and before the first
        one the middle of what the card says."""
        return round(self.by_model().get(card.id, sum(card.typical_s) / 2), 3)

    def by_model(self) -> Mapping[str, float]:
        """What is known now."""
        if self._clock() - self._asked_at >= ASK_EVERY_S and self._lock.acquire(blocking=False):
            try:
                self._asked_at = self._clock()
                self._known = self._ask()
            except DatabaseUnavailable as error:
                _log.warning("run times are not known", error=str(error))
            finally:
                self._lock.release()
        return self._known
