"""Rate limits: Flask-Limiter with a sliding window counter, one Redis round trip a request.

The count of a minute is this minute's calls plus the previous minute's, weighted by how much
of it still lies within the last sixty seconds. Redis keeps both numbers and the clock, so
every API process sees the same window. While Redis is away Flask-Limiter counts in this
process's memory: looser by the number of processes, but never an error for the caller.

Whose count, and how many calls a minute, is decided for each request by :mod:`api.auth`.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections import deque
from typing import Any, NamedTuple, cast

import redis
from flask_limiter import ApplicationLimit, Limiter
from limits.storage import RedisStorage, SlidingWindowCounterSupport

from api.request import current_request
from farm.broker import redis_py_url

WINDOW_S = 60
ADDRESS_PER_MINUTE = 300
"""Calls without a valid key, per client address: room for a documentation page and a probe,
too little to guess keys with."""
FILES_PER_MINUTE = 600
"""Output downloads per client address; their URLs carry their own signature."""
PROBES_PER_MINUTE = 6000
"""Health checks and scrapes per address."""

_SCHEME = "farm+"
# The library's type says whole numbers; redis-py takes seconds of any kind.
_REDIS_OPTIONS: dict[str, Any] = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25}

# KEYS[1] the bucket; ARGV limit, window in ms. Answers: allowed, this window's count, the
# previous one's, and the milliseconds left of this window. A refused call is not counted.
_SCRIPT = """
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local index = math.floor(now / window)
local seen = redis.call('HMGET', KEYS[1], 'w', 'c', 'p')
local w, c, p = tonumber(seen[1]), tonumber(seen[2]) or 0, tonumber(seen[3]) or 0
if w ~= index then
  if w == index - 1 then p = c else p = 0 end
  c = 0
end
local left = window - (now - index * window)
local allowed = 0
if p * left / window + c + 1 <= limit then
  c = c + 1
  allowed = 1
  redis.call('HSET', KEYS[1], 'w', index, 'c', c, 'p', p)
  redis.call('PEXPIRE', KEYS[1], window * 2)
end
return {allowed, c, p, left}
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

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


class CountingStorage(RedisStorage):
    """The library's Redis storage, whose counting call also brings back the counts.

    ``limits`` asks Redis once to count a call and again to learn what is left; here the first
    answer holds both, and is kept for the second question of the same thread. Its URLs are
    redis-py's with ``farm+`` before the scheme.
    """

    STORAGE_SCHEME = [f"{_SCHEME}{scheme}" for scheme in ("redis", "rediss", "unix")]  # noqa: RUF012

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri.removeprefix(_SCHEME), **options)
        self._idle: deque[Any] = deque()
        self._last = threading.local()

    def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count one call if it may pass. Raises redis-py's errors when Redis is away."""
        assert amount == 1, "every call here counts as one"
        allowed, current, previous, left_ms = self._ask(self.prefixed_key(key), limit, expiry)
        left_s = left_ms / 1000
        self._last.seen = (key, (previous, left_s, current, left_s + expiry))
        return bool(allowed)

    def get_sliding_window(self, key: str, expiry: int) -> Window:
        """The window as this thread's last call left it."""
        last_key, window = getattr(self._last, "seen", ("", (0, 0.0, 0, 0.0)))
        assert last_key == key, f"nothing was counted for {key} in a window of {expiry} s"
        found: Window = window
        return found

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().disconnect()

    def _ask(self, key: str, limit: int, window_s: int) -> list[int]:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._run(self._connection(), key, limit, window_s)
        try:
            return self._run(connection, key, limit, window_s)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            # Redis was restarted since this one was used: once more, on a new connection.
            return self._run(self._connection(), key, limit, window_s)

    def _run(self, connection: Any, key: str, limit: int, window_s: int) -> list[int]:
        # Plain connections and commands: the client's own pool, retry and dispatch layers
        # would double the cost of the call (measured: 52 against 28 microseconds).
        arguments = (1, key, limit, window_s * 1000)
        try:
            connection.send_command("EVALSHA", _SHA, *arguments)
            try:
                answer = connection.read_response()
            except redis.exceptions.NoScriptError:
                connection.send_command("EVAL", _SCRIPT, *arguments)
                answer = connection.read_response()
        except BaseException:
            # An answer may still be on its way: this connection would be one reply behind.
            connection.disconnect()
            raise
        self._idle.append(connection)
        return [int(number) for number in answer]

    def _connection(self) -> Any:
        pool = self.storage.connection_pool
        return pool.connection_class(**pool.connection_kwargs)


def build_limiter(url: str, window_s: int = WINDOW_S) -> Limiter:
    """Counts every call of the application that it is given to by ``init_app``.

    ``bucket`` and ``per_minute`` of the request say whose count and how many. A call over its
    limit ends in Flask-Limiter's RateLimitExceeded. Opens no connection.

    Args:
        url: the Redis that counts, or empty: then this process counts alone.
    """
    limiter = Limiter(
        lambda: current_request().bucket,
        application_limits=[
            ApplicationLimit(lambda: f"{current_request().per_minute} per {window_s} second")
        ],
        strategy="sliding-window-counter",
        storage_uri=f"{_SCHEME}{redis_py_url(url)}" if url else "memory://",
        storage_options=_REDIS_OPTIONS if url else {},
        in_memory_fallback_enabled=bool(url),
        # Unknown paths are counted too; Flask-Limiter would pass over what has no endpoint.
        request_identifier=lambda: "api",
    )
    # It says at INFO whom it refused, key and all; the access log has that already.
    limiter.logger.setLevel(logging.WARNING)
    return limiter


def standing(limiter: Limiter) -> Rate:
    """Where the caller of the current request stands, after it was counted."""
    counted = limiter.current_limit
    assert counted is not None, "every request is counted before it is answered"
    window_s = counted.limit.get_expiry()
    storage = cast(SlidingWindowCounterSupport, limiter.limiter.storage)
    window = storage.get_sliding_window(counted.key, window_s)
    return rate_of(window, counted.limit.amount, window_s, counted.breached, time.time())


def close(limiter: Limiter) -> None:
    """Close the limiter's connections."""
    if limiter.initialized and isinstance(limiter.storage, CountingStorage):
        limiter.storage.close()


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
