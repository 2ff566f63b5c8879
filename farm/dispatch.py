"""Ringing a model's queue after the job is committed, without the caller waiting for it.

A ring is best effort: one that is lost here (a broker away, a process killed) is rung again
by the sweeper. So ``ring`` takes microseconds, never raises for a broker that is away, and a
background thread sends what has gathered in one round trip.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import redis
from celery import Celery
from kombu.connection import Connection
from kombu.messaging import Producer

from farm.broker import celery_priority, connect, is_redis, mapped_failures, redis_py_url
from farm.crash_points import Effect, around
from farm.errors import BrokerUnavailable
from farm.messages import Ring

CAPACITY = 10_000
"""Rings that may wait for the sending thread; more are dropped and left to the sweeper."""

BATCH = 200
TIMEOUT_S = 2.0
"""The longest that Redis may take to connect or to answer a batch."""
PAUSES_S = (0.1, 0.5, 2.0)
"""Between the tries to send one batch. After the last the batch is left to the sweeper."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rings of this process, and how many wait right now."""

    sent: int
    dropped: int
    failed: int
    waiting: int


class Dispatcher:
    """Rings for jobs, from any thread. Connects and starts its thread on the first ring.

    Safe to build before a fork: each process has its own thread, queue and connection.
    """

    def __init__(self, celery: Celery, *, capacity: int = CAPACITY) -> None:
        self._celery = celery
        self._capacity = capacity
        self._forget()
        # A weak reference: the hook lives as long as the process, this object need not.
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def _forget(self) -> None:
        """Start from nothing: at birth, and in a forked child, which has none of the threads."""
        self._waiting: queue.SimpleQueue[Ring] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._direct = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._direct_line: _Line | None = None
        self._sent = self._dropped = self._failed = 0

    @property
    def counts(self) -> Counts:
        """The counters, for /metrics."""
        return Counts(self._sent, self._dropped, self._failed, self._waiting.qsize())

    def ring(self, ring: Ring) -> None:
        """Ring soon, in the background. Never blocks and never raises for the broker."""
        if self._thread is None or not self._thread.is_alive():
            self._start()
        if self._waiting.qsize() < self._capacity:
            self._waiting.put(ring)
            return
        self._dropped += 1
        if self._dropped % self._capacity == 1:
            _log.warning("rings dropped so far: %d; the sweeper rings later", self._dropped)

    def ring_now(self, rings: Sequence[Ring]) -> None:
        """Ring and return when the broker has the messages.

        Raises:
            BrokerUnavailable: some may have been sent; ringing twice is harmless.
        """
        if not rings:
            return
        with self._direct:
            if self._direct_line is None:
                self._direct_line = open_line(self._celery)
            with around(Effect.DISPATCH):
                self._direct_line.send(rings)
        self._sent += len(rings)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Send what waits, close the connections, end the thread; give up after ``timeout_s``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        with self._direct:
            if self._direct_line is not None:
                self._direct_line.close()
                self._direct_line = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        with contextlib.closing(open_line(self._celery)) as line:
            while True:
                batch = self._take()
                if batch:
                    self._deliver(line, batch)
                elif self._stopping.is_set():
                    return

    def _take(self) -> list[Ring]:
        """What waits, at least one unless there is nothing for a moment. While one batch is on
        its way the next one gathers, so nothing ever waits for a batch to fill."""
        batch = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._waiting.get(timeout=0.2))
            while len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
        return batch

    def _deliver(self, line: _Line, batch: list[Ring]) -> None:
        for pause_s in (*PAUSES_S, None):
            try:
                with around(Effect.DISPATCH):
                    line.send(batch)
            except BrokerUnavailable as error:
                if pause_s is None or self._stopping.is_set():
                    self._failed += len(batch)
                    _log.warning(
                        "%d rings not sent: %s The sweeper rings later.", len(batch), error
                    )
                    return
                self._stopping.wait(pause_s)
            else:
                self._sent += len(batch)
                return


class _Line(Protocol):
    """A connection to the broker that reconnects by itself. Used by one thread at a time."""

    def send(self, rings: Sequence[Ring]) -> None:
        """Send all. Raises BrokerUnavailable; some may have been sent."""

    def close(self) -> None: ...


def open_line(celery: Celery) -> _Line:
    """The quickest way to ring on this application's broker; connects when it first sends."""
    url = celery.conf.broker_url
    return _RedisLine(celery, url) if is_redis(url) else _ProducerLine(celery, url)


class _ProducerLine:
    """Sends each message through Celery. For RabbitMQ, which confirms none and blocks on none."""

    def __init__(self, celery: Celery, url: str) -> None:
        self._celery = celery
        self._url = url
        self._connection: Connection | None = None

    def send(self, rings: Sequence[Ring]) -> None:
        """Send all. Raises BrokerUnavailable; some may have been sent."""
        connection = self._connection = self._connection or self._celery.connection_for_write()
        try:
            with mapped_failures(connection):
                connect(connection)
                producer = self._celery.amqp.Producer(connection, auto_declare=False)
                for ring in rings:
                    publish(self._celery, producer, self._url, ring, str(ring.job_id))
        except BrokerUnavailable:
            # Whatever state it is in, the next one is made from nothing.
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(BrokerUnavailable), mapped_failures(connection):
                connection.release()


def publish(celery: Celery, producer: Producer, url: str, ring: Ring, task_id: str) -> None:
    """One message as Celery sends it: no arguments, the task's id is the job's."""
    celery.send_task(
        ring.task,
        task_id=task_id,
        queue=ring.queue,
        priority=celery_priority(url, ring.priority),
        producer=producer,
        ignore_result=True,
    )


class _RedisLine:
    """Sends a batch as LPUSHes on a plain connection, in one round trip.

    Two messages differ in their ids only, and building one through Celery and kombu costs
    more CPU than the rest of a submit's HTTP handling. So Celery builds one message for each
    queue and priority; its ids are replaced for every ring.
    """

    def __init__(self, celery: Celery, url: str) -> None:
        self._celery = celery
        self._url = url
        options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
        self._pool = redis.ConnectionPool.from_url(redis_py_url(url), **options)
        self._connection: Any = None
        self._moulds: dict[tuple[str, int], _Mould] = {}

    def send(self, rings: Sequence[Ring]) -> None:
        """Send all. Raises BrokerUnavailable; some may have been sent."""
        lists: dict[str, list[str]] = {}
        for ring in rings:
            mould = self._moulds.get((ring.queue, ring.priority))
            if mould is None:
                mould = self._moulds[ring.queue, ring.priority] = self._mould(ring)
            lists.setdefault(mould.key, []).append(mould.cast(str(ring.job_id)))
        try:
            self._push([("LPUSH", key, *messages) for key, messages in lists.items()])
        except (redis.RedisError, OSError) as error:
            # Answers may still be on their way: the next one is made from nothing.
            self.close()
            raise BrokerUnavailable(
                f"The message broker does not answer ({type(error).__name__})."
            ) from error

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _push(self, commands: list[tuple[str, ...]]) -> None:
        if self._connection is None:
            self._connection = self._pool.connection_class(**self._pool.connection_kwargs)
        self._connection.send_packed_command(self._connection.pack_commands(commands))
        for _ in commands:
            self._connection.read_response()

    def _mould(self, ring: Ring) -> _Mould:
        """Let Celery publish one message into a batch, and take it out before it is sent."""
        task_id = str(uuid.uuid4())
        connection = self._celery.connection_for_write()
        with contextlib.closing(connection), mapped_failures(connection):
            connect(connection)
            producer = self._celery.amqp.Producer(connection, auto_declare=False)
            with producer.batch() as batch:
                publish(self._celery, producer, self._url, ring, task_id)
                command: Any = batch.state.session.pipeline.command_stack[-1]
                batch.state.abort()
        _, key, message = command[0]
        tag = json.loads(message)["properties"]["delivery_tag"]
        return _Mould(key, message, task_id, tag)


@dataclass(frozen=True, slots=True)
class _Mould:
    """One message as Celery and kombu write it, for a queue and a priority, and its ids."""

    key: str
    message: str
    task_id: str
    tag: str

    def cast(self, task_id: str) -> str:
        """The same message for another task, with a delivery tag of its own."""
        return self.message.replace(self.task_id, task_id).replace(self.tag, str(uuid.uuid4()))
