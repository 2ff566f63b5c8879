"""Where a caller stands with its rate limit, and calls that were counted ahead."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

_LEASES_MAX = 10_000

Window = tuple[int, float, int, float]
"""As ``limits`` has it: the previous count and the seconds until it no longer matters, the
current count and the seconds until that one no longer does."""


class Rate(NamedTuple):
    """Where a caller stands after this call. ``reset`` is unix seconds; ``retry_after_s`` is 0
    for a call that may pass."""

    limit: int
    remaining: int
    reset: int
    retry_after_s: int


class Leases:
    """Calls that this process has counted and not yet answered, by bucket. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Rate] = {}
        self._left: dict[str, int] = {}

    def take(self, bucket: str) -> Rate | None:
        """Use one call of a lease; where its caller stands then, or None where there is none."""
        with self._lock:
            rate = self._held.get(bucket)
            if rate is None:
                return None
            left = self._left[bucket] = self._left[bucket] - 1
            if left <= 0 or rate.reset <= self._clock():
                del self._held[bucket], self._left[bucket]
            if rate.reset <= self._clock():
                return None
            return rate._replace(remaining=rate.remaining + left)

    def give(self, bucket: str, rate: Rate, calls: int) -> None:
        """Keep a lease of that many calls until its minute ends."""
        with self._lock:
            if len(self._held) >= _LEASES_MAX:
                self._held.clear()
                self._left.clear()
            self._held[bucket], self._left[bucket] = rate, calls


def rate_of(window: Window, limit: int, window_s: int, refused: bool, now: float) -> Rate:
    """The standing out of the two counts."""
    previous, _, current, current_left_s = window
    left_s = current_left_s % window_s or float(window_s)
    remaining = max(0, math.floor(limit - previous * left_s / window_s - current))
    if not refused:
        return Rate(limit, remaining, math.ceil(now + left_s), 0)
    if current + 1 <= limit:
        # Enough of the previous minute has faded when previous * left / window fits again.
        wait_s = left_s - (limit - current - 1) * window_s / max(previous, 1)
    else:
        wait_s = left_s + window_s * (1 - (limit - 1) / current)
    retry_after_s = max(1, math.ceil(wait_s))
    return Rate(limit, 0, math.ceil(now) + retry_after_s, retry_after_s)
