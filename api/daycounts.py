"""How often a key did something today. A day begins at 00:00 UTC.

Counted in Redis, so that every API process sees the same number; while Redis is away in this
process's memory, as :mod:`api.limits` does it.
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

# KEYS[1] the count; ARGV limit (or -1 to take one back), seconds to keep it. Answers 1 where one
# more was counted.
_TAKE = script(
    """
local limit, keep = tonumber(ARGV[1]), tonumber(ARGV[2])
local count = tonumber(redis.call('GET', KEYS[1])) or 0
if limit < 0 then
  if count > 0 then redis.call('DECR', KEYS[1]) end
  return {0}
end
if count >= limit then return {0} end
redis.call('SET', KEYS[1], count + 1, 'EX', keep)
return {1}
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

    def take(self, name: str, limit: int) -> Callable[[], None] | None:
        """Count one more today; None where that would be more than ``limit``.

        What is returned takes it back.
        """
        day = int(self._clock() // DAY_S)
        key = f"d:{name}:{day}"
        storage = self._limiter.limiter.storage
        if isinstance(storage, CountingStorage):
            try:
                return self._take_in_redis(storage, key, limit)
            except (redis.RedisError, OSError) as error:
                _log.warning("a day's calls are counted in this process", error=str(error))
        return self._take_here(key, day, limit)

    def seconds_left(self) -> int:
        """How long today lasts, rounded up; at least 1."""
        return max(1, math.ceil(DAY_S - self._clock() % DAY_S))

    def _take_in_redis(
        self, storage: CountingStorage, key: str, limit: int
    ) -> Callable[[], None] | None:
        name = storage.prefixed_key(key)

        def take_back() -> None:
            try:
                storage.ask(_TAKE, (name, -1, DAY_S))
            except (redis.RedisError, OSError) as error:
                _log.warning("a key has one call less today", error=str(error))

        return take_back if storage.ask(_TAKE, (name, limit, DAY_S))[0] else None

    def _take_here(self, key: str, day: int, limit: int) -> Callable[[], None] | None:
        with self._lock:
            if day != self._day or len(self._counts) >= _COUNTS_MAX:
                self._day = day
                self._counts.clear()
            if self._counts.get(key, 0) >= limit:
                return None
            self._counts[key] = self._counts.get(key, 0) + 1

        def take_back() -> None:
            with self._lock:
                if self._counts.get(key):
                    self._counts[key] -= 1

        return take_back
