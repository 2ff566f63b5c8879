"""Rate limits: Flask-Limiter with a sliding window counter, one Redis round trip a request.

The count of a minute is this minute's calls plus the previous minute's, weighted by how much
of it still lies within the last sixty seconds. Redis keeps both numbers and the clock, so
every API process sees the same window. While Redis is away Flask-Limiter counts in this
process's memory: looser by the number of processes, but never an error for the caller.

Reads are counted ten at a time: the first one pays for nine more of the same key in this
process, so that polling, the most frequent call there is, seldom asks Redis.

Whose count, and how many calls a minute, is decided for each request by :mod:`api.auth`. How
many submits a key has in a day, where its plan says so, is counted by :mod:`api.days`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import threading
import time
from collections import deque
from typing import Any, NamedTuple, cast

import redis
from flask_limiter import ApplicationLimit, Limiter
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import RedisStorage, SlidingWindowCounterSupport

from api.rates import Leases, Rate, Window, rate_of
from api.request import FarmRequest, current_request
from farm.broker import redis_py_url

WINDOW_S = 60
ADDRESS_PER_MINUTE = 300
"""Calls without a valid key, per client address: room for a documentation page and a probe,
too little to guess keys with."""
FILES_PER_MINUTE = 600
"""Output downloads per client address; their URLs carry their own signature."""
PROBES_PER_MINUTE = 6000
"""Health checks and scrapes per address."""

READ_LEASE = 10
"""Reads counted at once. What a process has paid for and not used by the end of the minute is
lost: at most nine of a key's 600 for each API process."""

_SCHEME = "farm+"
_SCOPE = "global"
"""What Flask-Limiter adds to the key of a limit that all routes share."""
# The library's type says whole numbers; redis-py takes seconds of any kind.
_REDIS_OPTIONS: dict[str, Any] = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25}

# KEYS[1] the bucket; ARGV limit, window in ms, calls. Answers: how many of the calls may pass,
# this window's count, the previous one's, and the milliseconds left of this window. Calls that
# may not are not counted.
_SCRIPT = """
local limit, window, calls = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
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
local allowed = math.max(0, math.min(calls, math.floor(limit - p * left / window - c)))
if allowed > 0 then
  c = c + allowed
  redis.call('HSET', KEYS[1], 'w', index, 'c', c, 'p', p)
  redis.call('PEXPIRE', KEYS[1], window * 2)
end
return {allowed, c, p, left}
"""


class Script(NamedTuple):
    """A Lua script and the name that Redis knows it by once it has run."""

    text: str
    sha: str


def script(text: str) -> Script:
    """The script of this text."""
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_COUNT = script(_SCRIPT)


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
        """Count calls, as many as may pass; True when at least one may.

        Raises:
            redis.RedisError, OSError: Redis is away.
        """
        arguments = (self.prefixed_key(key), limit, expiry * 1000, amount)
        allowed, current, previous, left_ms = self.ask(_COUNT, arguments)
        left_s = left_ms / 1000
        self._last.seen = (key, (previous, left_s, current, left_s + expiry))
        current_request().counted = allowed
        return bool(allowed)

    def get_sliding_window(self, key: str, expiry: int) -> Window:
        """The window as this thread's last call left it; a fresh one where that call was counted
        in memory, and Redis came back before its count was asked for."""
        fresh: Window = (0, 0.0, 0, float(expiry))
        last_key, window = getattr(self._last, "seen", ("", fresh))
        return window if last_key == key else fresh

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().disconnect()

    def ask(self, asked: Script, arguments: tuple[str | int, ...]) -> list[int]:
        """Run a script whose first argument is its one key and whose answer are whole numbers.

        Raises:
            redis.RedisError, OSError: Redis is away.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._run(self._connection(), asked, arguments)
        try:
            return self._run(connection, asked, arguments)
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            # Redis was restarted since this one was used: once more, on a new connection.
            return self._run(self._connection(), asked, arguments)

    def _run(self, connection: Any, asked: Script, arguments: tuple[str | int, ...]) -> list[int]:
        # Plain connections and commands: the client's own pool, retry and dispatch layers
        # would double the cost of the call (measured: 52 against 28 microseconds).
        try:
            connection.send_command("EVALSHA", asked.sha, 1, *arguments)
            try:
                answer = connection.read_response()
            except redis.exceptions.NoScriptError:
                connection.send_command("EVAL", asked.text, 1, *arguments)
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


class LeasingLimiter(Limiter):
    """Flask-Limiter, asked only about calls that no lease has counted already.

    Where Redis answers and the call may pass, which is nearly always, it is counted by the
    library's own strategy and nothing more is asked: how the library finds out which limits a
    route has, when all have the same one, took an eighth of a submit's time. A call that may
    not pass was not counted; the library counts it again, and refuses it.
    """

    window_s = WINDOW_S

    def _check_request_limit(
        self, callable_name: str | None = None, in_middleware: bool = True
    ) -> None:
        request = current_request()
        if request.rate is not None or self._is_counted(request):
            return
        try:
            super()._check_request_limit(callable_name, in_middleware)
        except (redis.RedisError, OSError):
            # Of several calls that find Redis gone at the same moment the library counts the
            # first one in memory, and breaks the others.
            if not self._storage_dead:
                raise
            self.context.seen_limits.clear()
            super()._check_request_limit(callable_name, in_middleware)

    def _is_counted(self, request: FarmRequest) -> bool:
        """Count the call in Redis; False where it may not pass, or Redis does not answer."""
        if self._storage_dead or not isinstance(self.storage, CountingStorage):
            return False
        item = _limit_of(request.per_minute, self.window_s)
        # Where Redis is away the library finds it out as well, and counts in memory.
        with contextlib.suppress(redis.RedisError, OSError):
            if self.limiter.hit(item, request.bucket, _SCOPE, cost=request.calls):
                request.counted_by = item
                return True
        return False


@functools.lru_cache(maxsize=64)
def _limit_of(amount: int, window_s: int) -> RateLimitItem:
    return RateLimitItemPerSecond(amount, window_s)


def build_limiter(url: str, window_s: int = WINDOW_S) -> Limiter:
    """Counts every call of the application that it is given to by ``init_app``.

    ``bucket`` and ``per_minute`` of the request say whose count and how many. A call over its
    limit ends in Flask-Limiter's RateLimitExceeded. Opens no connection.

    Args:
        url: the Redis that counts, or empty: then this process counts alone.
    """
    limiter = LeasingLimiter(
        lambda: current_request().bucket,
        application_limits=[
            ApplicationLimit(
                lambda: f"{current_request().per_minute} per {window_s} second",
                cost=lambda: current_request().calls,
            )
        ],
        strategy="sliding-window-counter",
        storage_uri=f"{_SCHEME}{redis_py_url(url)}" if url else "memory://",
        storage_options=_REDIS_OPTIONS if url else {},
        in_memory_fallback_enabled=bool(url),
        # Unknown paths are counted too; Flask-Limiter would pass over what has no endpoint.
        request_identifier=lambda: "api",
    )
    limiter.window_s = window_s
    # It says at INFO whom it refused, key and all; the access log has that already.
    limiter.logger.setLevel(logging.WARNING)
    return limiter


def standing(limiter: Limiter, leases: Leases) -> Rate:
    """Where the caller of the current request stands, after it was counted."""
    request = current_request()
    if request.rate is not None:
        return request.rate
    item, breached = request.counted_by, False
    key = item.key_for(request.bucket, _SCOPE) if item is not None else ""
    if item is None:
        counted = limiter.current_limit
        assert counted is not None, "every request is counted before it is answered"
        item, key, breached = counted.limit, counted.key, counted.breached
    window_s = item.get_expiry()
    storage = cast(SlidingWindowCounterSupport, limiter.limiter.storage)
    window = storage.get_sliding_window(key, window_s)
    rate = rate_of(window, item.amount, window_s, breached, time.time())
    # Only our own storage counts fewer than it was asked for, near the limit.
    more = (request.counted or request.calls) - 1
    if more > 0 and not rate.retry_after_s:
        leases.give(request.bucket, rate, more)
        rate = rate._replace(remaining=rate.remaining + more)
    request.rate = rate
    return rate


def close(limiter: Limiter) -> None:
    """Close the limiter's connections."""
    if limiter.initialized and isinstance(limiter.storage, CountingStorage):
        limiter.storage.close()
