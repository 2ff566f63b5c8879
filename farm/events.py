"""What happens to a job, told at once to whoever waits for it.

Redis carries it (publish and subscribe, https://redis.io/docs/latest/develop/pubsub/), which
keeps nothing: an event that nobody hears is gone. So an event is a hint to look at
PostgreSQL sooner, or a step of progress that the next one makes up for; it is never what
somebody relies on. Without a Redis nothing is told, and those who wait look every second.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import redis

from farm.broker import redis_py_url
from farm.crash_points import Effect, around
from farm.types import JobState

CANCELLED_CHANNEL = "farm:cancelled"
"""Ids of jobs that were cancelled: few, and every worker hears all of them."""
ENDED_CHANNEL = "farm:ended"
"""Ids of jobs that ended, however. Every web process hears all of them: that costs it less
than to subscribe, for each client that waits, to a channel of its own and to leave it again."""

_JOB_CHANNEL = "farm:job:"
_TIMEOUT_S = 0.5
"""The longest that telling may hold up whoever tells."""
_PAUSE_S = 5.0
"""After a failure nothing is told for this long: a broken Redis is asked now and then only."""
_LISTEN_S = 1.0

_log = logging.getLogger(__name__)


def job_channel(job_id: uuid.UUID) -> str:
    """Where the states and steps of one live job are published."""
    return _JOB_CHANNEL + job_id.hex


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A place in a job's life, in the order in which they come.

    ``turn`` rises whenever the job is claimed or goes back to its queue; within a turn
    ``step`` rises. ``str`` and :meth:`parse` are each other's inverse.
    """

    turn: int
    step: int = 0

    @classmethod
    def of(cls, state: JobState, attempt: int, step: int) -> Self:
        """The moment that a job with these columns is in."""
        if state.is_terminal:
            return cls(_END_TURN)
        running = state is JobState.RUNNING
        return cls(2 * attempt - running, step if running else 0)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """A moment as it was written, or None where the text is none."""
        turn, dot, step = text.partition(".")
        if not (dot and turn.isdecimal() and step.isdecimal() and len(text) <= _TEXT_MAX):
            return None
        return cls(int(turn), int(step))

    @property
    def is_end(self) -> bool:
        """True for the last one, however the job ended."""
        return self.turn >= _END_TURN

    def __str__(self) -> str:
        return f"{self.turn}.{self.step}"


_END_TURN = 1_000_000
_TEXT_MAX = 24


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One change of a job: its state, or a step of the attempt that runs."""

    job_id: uuid.UUID
    state: JobState
    attempt: int
    step: int = 0
    steps: int = 0

    @property
    def moment(self) -> Moment:
        """When in the job's life it happened."""
        return Moment.of(self.state, self.attempt, self.step)

    def encode(self) -> str:
        """The message on the job's channel."""
        return json.dumps([self.state.value, self.attempt, self.step, self.steps])

    @classmethod
    def decode(cls, channel: str, message: str) -> Self:
        """An event as it was published. Raises ValueError for anything else."""
        state, attempt, step, steps = json.loads(message)
        job_id = uuid.UUID(hex=channel.removeprefix(_JOB_CHANNEL))
        return cls(job_id, JobState(state), int(attempt), int(step), int(steps))


class Announcer:
    """Tells of jobs, from any thread. Best effort: never raises for a Redis that is away.

    Connects when it first tells something. Not to be shared over a fork.

    Args:
        url: the broker's URL form of a Redis, or empty where there is none.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._client: Any = None
        self._silent_until = 0.0

    def tell(self, event: JobEvent) -> None:
        """Publish a change of a job to whoever waits for it."""
        if event.state.is_terminal:
            self._publish((ENDED_CHANNEL, event.job_id.hex))
        else:
            self._publish((job_channel(event.job_id), event.encode()))

    def cancelled(self, job_id: uuid.UUID) -> None:
        """Publish that a job was cancelled, to the worker that may be running it too."""
        self._publish((CANCELLED_CHANNEL, job_id.hex), (ENDED_CHANNEL, job_id.hex))

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _publish(self, *messages: tuple[str, str]) -> None:
        if not self._url or self._clock() < self._silent_until:
            return
        if self._client is None:
            self._client = redis.Redis.from_url(
                redis_py_url(self._url),
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
            )
        try:
            with around(Effect.ANNOUNCE):
                for channel, message in messages:
                    self._client.publish(channel, message)
        except redis.RedisError as error:
            self._silent_until = self._clock() + _PAUSE_S
            _log.warning("events are not told for %g s: %s", _PAUSE_S, error)


class Cancellations:
    """Hears which jobs are cancelled, in a thread of its own, for the job that runs here.

    ``is_heard`` tells whether a cancel would be heard at this moment; while it is not, whoever
    runs a job has to look at the database instead.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._connected = False
        self._watched: dict[str, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None

    @property
    def is_heard(self) -> bool:
        """Whether the subscription stands."""
        return self._connected

    @contextmanager
    def watching(self, job_id: uuid.UUID, heard: Callable[[], None]) -> Iterator[None]:
        """Call ``heard``, in the listening thread, when this job is cancelled in the block."""
        if self._url and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cancellations", daemon=True)
            self._thread.start()
        self._watched[job_id.hex] = heard
        try:
            yield
        finally:
            self._watched.pop(job_id.hex, None)

    def close(self) -> None:
        """Stop listening; the thread ends within a second by itself."""
        self._stop.set()

    def _run(self) -> None:
        pause_s = 0.1
        while not self._stop.is_set():
            client: Any = redis.Redis.from_url(
                redis_py_url(self._url),
                socket_timeout=_LISTEN_S + 1,
                socket_connect_timeout=2.0,
                health_check_interval=10,
            )
            try:
                with client.pubsub() as subscription:
                    subscription.subscribe(CANCELLED_CHANNEL)
                    self._listen(subscription)
                    pause_s = 0.1
            except redis.RedisError as error:
                _log.warning("cancellations are not heard: %s", error)
            finally:
                self._connected = False
                client.close()
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S)

    def _listen(self, subscription: Any) -> None:
        """Until the connection breaks or this is closed. Raises what redis-py raises."""
        while not self._stop.is_set():
            message = subscription.get_message(timeout=_LISTEN_S)
            if message is None:
                continue
            if message["type"] == "subscribe":
                self._connected = True
            elif message["type"] == "message":
                heard = self._watched.get(message["data"].decode("ascii", "replace"))
                if heard is not None:
                    heard()
