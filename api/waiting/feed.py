"""The web process's one Redis subscription: the events of those jobs that somebody waits for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from api.log import get_logger
from farm.broker import redis_py_url
from farm.events import JobEvent, job_channel

_BASE_CHANNEL = "farm:waiting"
"""Nothing is published there. A connection that subscribes to nothing cannot listen."""
_LISTEN_S = 5.0
_PAUSE_MAX_S = 5.0

_log = get_logger("api.waiting")


class Feed:
    """Subscribes on one connection, whatever comes and goes; used by one event loop.

    Args:
        url: the broker's URL form of a Redis, or empty: then nothing is ever heard.
        heard: an event of a wanted job.
        joined: from now on the events of this job are heard; those before were not.
    """

    def __init__(
        self,
        url: str,
        heard: Callable[[JobEvent], None],
        joined: Callable[[uuid.UUID], None],
    ) -> None:
        self._url = url
        self._heard = heard
        self._joined = joined
        self._wanted: dict[str, uuid.UUID] = {}
        self._to_join: set[str] = set()
        self._to_leave: set[str] = set()
        self._changed = asyncio.Event()
        self._joined_channels: set[str] = set()

    def hears(self, job_id: uuid.UUID) -> bool:
        """Whether an event of this job would be heard now."""
        return job_channel(job_id) in self._joined_channels

    def want(self, job_id: uuid.UUID) -> None:
        """Hear of this job from some moment on, which ``joined`` tells."""
        channel = job_channel(job_id)
        self._wanted[channel] = job_id
        self._to_leave.discard(channel)
        if channel not in self._joined_channels:
            self._to_join.add(channel)
            self._changed.set()

    def drop(self, job_id: uuid.UUID) -> None:
        """Nobody waits for this job any more."""
        channel = job_channel(job_id)
        self._wanted.pop(channel, None)
        self._to_join.discard(channel)
        self._to_leave.add(channel)
        self._changed.set()

    async def run(self) -> None:
        """Listen until cancelled. Connects anew as often as it must."""
        pause_s = 0.1
        while self._url:
            client = redis.asyncio.Redis.from_url(
                redis_py_url(self._url), socket_connect_timeout=2.0, health_check_interval=10
            )
            try:
                async with client, client.pubsub() as subscription:
                    await subscription.subscribe(_BASE_CHANNEL)
                    self._to_join = set(self._wanted)
                    self._changed.set()
                    pause_s = 0.1
                    await self._listen(subscription)
            except (RedisError, OSError) as error:
                _log.warning("the events of jobs are not heard", error=str(error))
            finally:
                self._joined_channels.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _listen(self, subscription: Any) -> None:
        """Until the connection breaks. Raises what redis-py raises."""
        subscribing = asyncio.create_task(self._subscribe(subscription))
        try:
            while not subscribing.done():
                message = await subscription.get_message(timeout=_LISTEN_S)
                if message is not None:
                    self._take(message["type"], message["channel"].decode(), message["data"])
            subscribing.result()
        finally:
            subscribing.cancel()

    def _take(self, kind: str, channel: str, data: Any) -> None:
        job_id = self._wanted.get(channel)
        if job_id is None:
            return
        if kind == "subscribe":
            self._joined_channels.add(channel)
            self._joined(job_id)
        elif kind == "message":
            try:
                event = JobEvent.decode(channel, data.decode())
            except (ValueError, TypeError) as error:
                _log.warning("an event cannot be read", error=str(error))
                return
            self._heard(event)

    async def _subscribe(self, subscription: Any) -> None:
        """Send what has gathered, many channels in one command."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            joining, leaving = self._to_join, self._to_leave
            self._to_join, self._to_leave = set(), set()
            if leaving:
                self._joined_channels -= leaving
                await subscription.unsubscribe(*leaving)
            if joining:
                await subscription.subscribe(*joining)
