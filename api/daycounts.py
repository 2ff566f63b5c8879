"""How often a key did something today. A day begins at 00:00 UTC.

Counted in Redis, so that every API process sees the same number; while Redis is away in this
process's memory, as :mod:`api.limits` does it. Far from the limit a process counts a few ahead,
as reads are counted; the nearer it comes the fewer, and the last ones by one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import redis
from flask_limiter import Limiter

from api.limits import CountingStorage, script
from api.log import get_logger

DAY_S = 86_400
_COUNTS_MAX = 10_000

_log = get_logger("api.daycounts")

AHEAD_MAX = 10
"""Counted at once, far from the limit. What a process has counted and not used by the end of the
day, or of its life, is lost."""
_AHEAD_SHARE = 20
"""One in so many of those that are left."""

# KEYS[1] the count; ARGV limit, the most at once, seconds to keep it. Answers how many were
# counted.
_TAKE = script(
    f"""
local limit, most, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local count = tonumber(redis.call('GET', KEYS[1])) or 0
local left = limit - count
if left <= 0 then return {{0}} end
local taken = math.max(1, math.min(most, math.floor(left / {_AHEAD_SHARE})))
redis.call('SET', KEYS[1], count + taken, 'EX', keep)
return {{taken}}
"""
)
# KEYS[1] the count; ARGV how many are given back.
_GIVE = script(
    """
local count = tonumber(redis.call('GET', KEYS[1])) or 0
if count > 0 then redis.call('DECRBY', KEYS[1], math.min(count, tonumber(ARGV[1]))) end
return {0}
"""
)


class DayCounts:
    """Counts by name, which begin again with each day. Thread-safe."""

    def __init__(self, limiter: Limiter, clock: Callable[[], float] = time.time) -> None:
        self._limiter = limiter
        self._clock = clock
        self._lock = threading.Lock()
        self._day = 0
        self._counts: dict[str, int] = {}
        self._ahead: dict[str, int] = {}

    def take(self, name: str, limit: int) -> Callable[[], None] | None:
        """Count one more today; None where that would be more than ``limit``.

        What is returned takes it back.
        """
        day = int(self._clock() // DAY_S)
        key = f"d:{name}:{day}"
        with self._lock:
            self._begin(day)
            if self._ahead.get(key, 0) > 0:
                self._ahead[key] -= 1
                return lambda: self._keep(key, 1)
        storage = self._limiter.limiter.storage
        if isinstance(storage, CountingStorage):
            try:
                return self._take_in_redis(storage, key, limit)
            except (redis.RedisError, OSError) as error:
                _log.warning("a day's calls are counted in this process", error=str(error))
        return self._take_here(key, limit)

    def seconds_left(self) -> int:
        """How long today lasts, rounded up; at least 1."""
        return max(1, math.ceil(DAY_S - self._clock() % DAY_S))

    def _begin(self, day: int) -> None:
        """Forget what was counted on another day, or for too many names."""
        if day != self._day or len(self._counts) + len(self._ahead) >= _COUNTS_MAX:
            self._day = day
            self._counts.clear()
            self._ahead.clear()

    def _take_in_redis(
        self, storage: CountingStorage, key: str, limit: int
    ) -> Callable[[], None] | None:
        name = storage.prefixed_key(key)
        [taken] = storage.ask(_TAKE, (name, limit, AHEAD_MAX, DAY_S))
        if taken > 1:
            self._keep(key, taken - 1)

        def take_back() -> None:
            # Straight to Redis: near the limit another process may be waiting for it.
            try:
                storage.ask(_GIVE, (name, 1))
            except (redis.RedisError, OSError) as error:
                _log.warning("a key has one call less today", error=str(error))

        return take_back if taken else None

    def _keep(self, key: str, calls: int) -> None:
        with self._lock:
            self._ahead[key] = self._ahead.get(key, 0) + calls

    def _take_here(self, key: str, limit: int) -> Callable[[], None] | None:
        with self._lock:
            if self._counts.get(key, 0) >= limit:
                return None
            self._counts[key] = self._counts.get(key, 0) + 1

        def take_back() -> None:
            with self._lock:
                if self._counts.get(key):
                    self._counts[key] -= 1

        return take_back
