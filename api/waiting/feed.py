"""The web process's one Redis subscription: the ends of all jobs, the steps of those watched."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from api.log import get_logger
from farm.broker import redis_py_url
from farm.events import ENDED_CHANNEL, JobEvent, job_channel

PING_EVERY_S = 5.0
ANSWER_WITHIN_S = 3.0
"""A connection on which nothing came for so long after a ping is dead: whoever waits looks for
himself until there is another."""
_PAUSE_MAX_S = 5.0

_log = get_logger("api.waiting")


class Feed:
    """Subscribes on one connection, whatever comes and goes; used by one event loop.

    Args:
        url: the broker's URL form of a Redis, or empty: then nothing is ever heard.
        ended: some job has ended, perhaps one that nobody here waits for.
        heard: an event of a wanted job, which is not its end.
        joined: from now on the events of this wanted job are heard; those before were not.
        opened: from now on the ends of all jobs are heard; those before were not.
    """

    def __init__(
        self,
        url: str,
        *,
        ended: Callable[[uuid.UUID], None],
        heard: Callable[[JobEvent], None],
        joined: Callable[[uuid.UUID], None],
        opened: Callable[[], None],
    ) -> None:
        self._url = url
        self._ended = ended
        self._heard = heard
        self._joined = joined
        self._opened = opened
        self._wanted: dict[str, uuid.UUID] = {}
        self._to_join: set[str] = set()
        self._to_leave: set[str] = set()
        self._changed = asyncio.Event()
        self._connected = False
        self._received_at = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether the end of a job would be heard now."""
        return self._connected

    def want(self, job_id: uuid.UUID) -> None:
        """Hear of this job's steps from some moment on, which ``joined`` tells."""
        channel = job_channel(job_id)
        self._wanted[channel] = job_id
        self._to_leave.discard(channel)
        self._to_join.add(channel)
        self._changed.set()

    def drop(self, job_id: uuid.UUID) -> None:
        """Nobody watches this job any more."""
        channel = job_channel(job_id)
        if self._wanted.pop(channel, None) is not None:
            self._to_join.discard(channel)
            self._to_leave.add(channel)
            self._changed.set()

    async def run(self) -> None:
        """Listen until cancelled. Connects anew as often as it must."""
        pause_s = 0.1
        while self._url:
            client = redis.asyncio.Redis.from_url(
                redis_py_url(self._url), socket_connect_timeout=2.0
            )
            try:
                async with client, client.pubsub() as subscription:
                    async with asyncio.timeout(ANSWER_WITHIN_S):
                        await subscription.subscribe(ENDED_CHANNEL)
                    self._to_join = set(self._wanted)
                    self._changed.set()
                    pause_s = 0.1
                    await self._listen(subscription)
            except (RedisError, OSError) as error:
                _log.warning("the events of jobs are not heard", error=str(error))
            finally:
                self._connected = False
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _listen(self, subscription: Any) -> None:
        """Until the connection breaks. Raises what redis-py raises, TimeoutError."""
        loop = asyncio.get_running_loop()
        self._received_at = loop.time()
        tasks = [
            loop.create_task(work(subscription))
            for work in (self._read, self._subscribe, self._ping)
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, subscription: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # Without a time limit of its own, which would cost more than the reading.
            message = await subscription.get_message(timeout=None)
            self._received_at = loop.time()
            if message is not None and message["type"] in ("subscribe", "message"):
                self._take(message["type"], message["channel"].decode(), message["data"])

    def _take(self, kind: str, channel: str, data: Any) -> None:
        try:
            if channel == ENDED_CHANNEL:
                if kind == "message":
                    self._ended(uuid.UUID(hex=data.decode()))
                else:
                    self._connected = True
                    self._opened()
            elif channel in self._wanted:
                if kind == "message":
                    self._heard(JobEvent.decode(channel, data.decode()))
                else:
                    self._joined(self._wanted[channel])
        except (ValueError, TypeError) as error:
            _log.warning("an event cannot be read", channel=channel, error=str(error))

    async def _subscribe(self, subscription: Any) -> None:
        """Send what has gathered, many channels in one command."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            joining, leaving = self._to_join, self._to_leave
            self._to_join, self._to_leave = set(), set()
            if leaving:
                await subscription.unsubscribe(*leaving)
            if joining:
                await subscription.subscribe(*joining)

    async def _ping(self, subscription: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PING_EVERY_S)
            asked_at = loop.time()
            await subscription.ping()
            await asyncio.sleep(ANSWER_WITHIN_S)
            if self._received_at < asked_at:
                raise TimeoutError(f"Redis has not answered for {ANSWER_WITHIN_S:g} s")
