"""The thread in each child that ends a worker which no longer takes what its queues hold.

A worker may lose its ears and live on: its connection to the broker was restored and nothing
consumes on it, its parent process is stopped or hangs, a slot was never given back. It answers
pings, reports as a node, and its queue waits for ever. The child sees it from outside: it is
idle, and a connection of its own finds messages in a queue of this worker, for a minute on end,
of which none was taken.

What ends a worker is its parent's SIGTERM, or SIGKILL where the parent does not hear that one
either; the system then ends the children. Whoever supervises the worker starts another.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Sequence

from celery import Celery

from farm import canaries
from farm.broker import messages_waiting
from farm.errors import BrokerUnavailable, DatabaseUnavailable, SetupError
from farm.services import Services
from tasks.drain import Drain
from tasks.reporter import NodeName

LOOKS = 6
"""How often a thread looks in the time after which a worker is deaf."""
HEARS_WITHIN_S = 5.0
"""A parent that has not begun to shut down so long after SIGTERM does not hear it."""
_STAMP = struct.Struct("d")

_log = logging.getLogger(__name__)


class Ears:
    """When a message was last taken from each queue, by whichever child of this worker.

    Shared by a process and the children that it forks after making this; ``is_busy`` is each
    child's own.
    """

    def __init__(self, queues: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._places = {queue: place for place, queue in enumerate(queues)}
        self._memory = mmap.mmap(-1, max(1, len(queues)) * _STAMP.size)
        self._clock = clock
        self.is_busy = False

    def took(self, queue: str) -> None:
        """This child took a message from that queue, and works on it."""
        self.is_busy = True
        place = self._places.get(queue)
        if place is not None:
            # The monotonic clock is the same in every process of a machine.
            _STAMP.pack_into(self._memory, place * _STAMP.size, self._clock())

    def last(self, queue: str) -> float:
        """When a message was last taken from that queue; 0.0 for never."""
        found: float = _STAMP.unpack_from(self._memory, self._places[queue] * _STAMP.size)[0]
        return found


class Watchdog:
    """Looks six times in FARM_DEAF_AFTER_S, and ends the worker when all looks agreed.

    While this child works, its worker is being drained, or the broker does not answer, there is
    nothing to see, and it starts anew. So a worker has the whole time to come back after its
    broker did.
    """

    def __init__(
        self,
        services: Services,
        celery: Celery,
        drain: Drain,
        ears: Ears,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = services.db
        self._celery = celery
        self._drain = drain
        self._ears = ears
        self._clock = clock
        self._after_s = services.settings.deaf_after_s
        self._since: dict[str, float] = {}
        self._looked = clock()

    def start(self, node: NodeName) -> None:
        """Watch over this worker from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, args=(node,), name="deaf", daemon=True).start()

    def look(self, queues: Sequence[str]) -> str | None:
        """Look once; what is wrong when it has been so for long enough, else None."""
        now = self._clock()
        if now - self._looked > self._after_s / 2:
            # This process was stopped, and the parent too: it has just begun to hear again.
            self._since = {}
        self._looked = now
        held = self._held(queues)
        self._since = {queue: self._since.get(queue, now) for queue in held}
        for queue, since in self._since.items():
            if self._ears.last(queue) >= since:
                self._since[queue] = now
        late = [queue for queue, since in self._since.items() if now - since >= self._after_s]
        if not late:
            return None
        waits = self._waits(late)
        queue = max(late, key=lambda name: waits.get(name, 0.0))
        if waits.get(queue, 0.0) < self._after_s:
            return None
        return (
            f"this worker is deaf: for {now - self._since[queue]:.0f} s it was idle and took "
            f"none of the {held[queue]} messages that the broker holds in {queue}, where "
            f"something has waited for {waits[queue]:.0f} s"
        )

    def _held(self, queues: Sequence[str]) -> dict[str, int]:
        """The queues that hold messages which this child could take now, and how many."""
        if not self._is_free():
            return {}
        try:
            waiting = messages_waiting(self._celery, queues)
        except BrokerUnavailable:
            return {}
        if not self._is_free():  # it took one while it looked
            return {}
        return {queue: number for queue, number in waiting.items() if number}

    def _is_free(self) -> bool:
        return not (self._ears.is_busy or self._drain.has_begun)

    def _waits(self, queues: Sequence[str]) -> dict[str, float]:
        try:
            return canaries.longest_wait(self._db, queues)
        except (DatabaseUnavailable, SetupError) as error:
            _log.warning("whether this worker is deaf cannot be told: %s", error)
            return {}

    def _run(self, node: NodeName) -> None:
        while not self._drain.has_begun:
            time.sleep(self._after_s / LOOKS)
            wrong = self.look(node.queues)
            if wrong is not None:
                _end(node, self._drain, wrong)


def _end(node: NodeName, drain: Drain, wrong: str) -> None:
    """End the worker that this process is a child of; returns only where it is ending already."""
    if drain.has_begun or os.getppid() != node.pid:
        return
    _log.error("%s; ending it (pid %d), so that another is started", wrong, node.pid)
    os.kill(node.pid, signal.SIGTERM)
    deadline = time.monotonic() + HEARS_WITHIN_S
    while time.monotonic() < deadline:
        if drain.has_begun or os.getppid() != node.pid:
            return
        time.sleep(0.1)
    _log.error("the worker (pid %d) does not hear SIGTERM either; killing it", node.pid)
    os.kill(node.pid, signal.SIGKILL)
