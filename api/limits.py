"""Rate limits: a sliding window counter per caller, in Redis, one round trip a request.

The count of a minute is this minute's calls plus the previous minute's, weighted by how much
of it still lies within the last sixty seconds. Redis keeps both numbers and the clock, so
every API process sees the same window. While Redis is away each process counts by itself:
looser by the number of processes, but never an error for the caller.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from typing import Any, NamedTuple

import redis

from api.log import get_logger
from farm.broker import redis_py_url

WINDOW_S = 60
ADDRESS_PER_MINUTE = 300
"""Calls without a valid key, per client address: room for a documentation page and a probe,
too little to guess keys with."""
FILES_PER_MINUTE = 600
"""Output downloads per client address; their URLs carry their own signature."""
PROBES_PER_MINUTE = 6000
"""Health checks and scrapes per address."""

_TIMEOUT_S = 0.25
_RETRY_AFTER_S = 1.0
_LOCAL_BUCKETS_MAX = 10_000

# KEYS[1] the bucket; ARGV limit, window in ms. Answers "allowed count previous now": this
# window's count, the previous one's and the server's clock in ms, as one string because the
# client parses that three times faster than a list. A refused call is not counted.
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
return string.format('%d %d %d %.0f', allowed, c, p, now)
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_RUN = b"*6\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n" % _SHA.encode()

_log = get_logger("api.limits")


class Rate(NamedTuple):
    """Where a caller stands after this call. ``reset`` is unix seconds; ``retry_after_s`` is 0
    for a call that may pass."""

    limit: int
    remaining: int
    reset: int
    retry_after_s: int


class RateLimiter:
    """Counts calls by bucket. Safe to share between threads; opens nothing until used.

    Args:
        url: the Redis that counts, or empty: then this process counts alone.
    """

    def __init__(self, url: str) -> None:
        self._pool = (
            redis.ConnectionPool.from_url(
                redis_py_url(url),
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
            )
            if url
            else None
        )
        self._idle: deque[Any] = deque()
        self._local = _LocalCounts()
        self._away_until = 0.0

    def hit(self, bucket: str, per_minute: int) -> Rate:
        """Count one call, if it may pass. Never raises for a Redis that is away."""
        if self._pool is not None and time.monotonic() >= self._away_until:
            try:
                return _rate(per_minute, *self._ask(self._pool, bucket, per_minute))
            except (redis.RedisError, OSError) as error:
                # For a moment nobody tries again: a Redis that hangs must not cost every
                # request its timeout.
                self._away_until = time.monotonic() + _RETRY_AFTER_S
                _log.warning("rate limits are counted per process: Redis is away", error=str(error))
        return _rate(per_minute, *self._local.hit(bucket, per_minute, time.time()))

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().disconnect()

    def _ask(self, pool: redis.ConnectionPool, bucket: str, per_minute: int) -> list[int]:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._run(_new_connection(pool), bucket, per_minute)
        try:
            return self._run(connection, bucket, per_minute)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            # Redis was restarted since this one was used: once more, on a new connection.
            return self._run(_new_connection(pool), bucket, per_minute)

    def _run(self, connection: Any, bucket: str, per_minute: int) -> list[int]:
        # Plain connections and a command packed by hand: the client's own pool, retry and
        # packing layers would triple the cost of the call.
        try:
            connection.send_packed_command([_packed(bucket, per_minute)], check_health=False)
            try:
                answer = connection.read_response()
            except redis.exceptions.NoScriptError:
                connection.send_command("EVAL", _SCRIPT, 1, *_arguments(bucket, per_minute))
                answer = connection.read_response()
        except BaseException:
            # An answer may still be on its way: this connection would be one reply behind.
            connection.disconnect()
            raise
        self._idle.append(connection)
        return [int(number) for number in answer.split()]


def _arguments(bucket: str, per_minute: int) -> tuple[bytes, bytes, bytes]:
    return b"farm:rate:" + bucket.encode(), b"%d" % per_minute, b"%d" % (WINDOW_S * 1000)


def _packed(bucket: str, per_minute: int) -> bytes:
    """The command as it goes over the wire (RESP: each part with its length)."""
    parts = _arguments(bucket, per_minute)
    return _RUN + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _new_connection(pool: redis.ConnectionPool) -> Any:
    return pool.connection_class(**pool.connection_kwargs)


class _LocalCounts:
    """The same counter in this process's memory, for as long as Redis is away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, int, int]] = {}

    def hit(self, bucket: str, limit: int, now: float) -> tuple[int, int, int, int]:
        index = int(now // WINDOW_S)
        with self._lock:
            w, c, p = self._counts.pop(bucket, (index, 0, 0))
            if w != index:
                c, p = 0, c if w == index - 1 else 0
            left_s = (index + 1) * WINDOW_S - now
            allowed = p * left_s / WINDOW_S + c + 1 <= limit
            c += allowed
            # The newest goes to the end, so that the bound drops whoever was quiet longest.
            self._counts[bucket] = (index, c, p)
            if len(self._counts) > _LOCAL_BUCKETS_MAX:
                del self._counts[next(iter(self._counts))]
        return int(allowed), c, p, int(now * 1000)


def _rate(limit: int, allowed: int, current: int, previous: int, now_ms: int) -> Rate:
    """The caller's standing out of the two counts; all windows end at whole minutes."""
    window_end = (now_ms // (WINDOW_S * 1000) + 1) * WINDOW_S
    left_s = window_end - now_ms / 1000
    used = previous * left_s / WINDOW_S + current
    remaining = max(0, math.floor(limit - used))
    if allowed:
        return Rate(limit, remaining, window_end, 0)
    if current + 1 <= limit:
        # Enough of the previous minute has faded when previous * left / window fits again.
        wait_s = left_s - (limit - current - 1) * WINDOW_S / previous
    else:
        wait_s = left_s + WINDOW_S * (1 - (limit - 1) / current)
    retry_after_s = max(1, math.ceil(wait_s))
    return Rate(limit, 0, math.ceil(now_ms / 1000) + retry_after_s, retry_after_s)
