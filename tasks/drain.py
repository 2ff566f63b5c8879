"""How a worker's parent process tells its child that it is being shut down.

Celery's warm shutdown (SIGTERM) waits for the running job and tells the child nothing. This
is eight bytes of memory that both share: the parent writes a deadline, and the heartbeat
beside the running job reads it and hands the job back when it has passed.
"""

from __future__ import annotations

import math
import mmap
import signal
import struct
import time

LAST_S = 15.0
"""So much longer than its drain may a worker take to end, before the system ends it."""
_DEADLINE = struct.Struct("d")


class Drain:
    """A deadline shared by a process and the children that it forks after making this."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _DEADLINE.size)

    def begin(self, grace_s: float) -> None:
        """Start draining: the running job has this long. Safe in a signal handler; once only."""
        if not self.has_begun:
            # The monotonic clock counts from the machine's start, the same in every process.
            _DEADLINE.pack_into(self._memory, 0, time.monotonic() + grace_s)

    @property
    def has_begun(self) -> bool:
        """Whether this worker should start nothing new."""
        return bool(_DEADLINE.unpack_from(self._memory)[0])

    @property
    def is_over(self) -> bool:
        """Whether a job that still runs must be handed back."""
        deadline: float = _DEADLINE.unpack_from(self._memory)[0]
        return bool(deadline) and time.monotonic() >= deadline


def end_at_last(grace_s: float) -> None:
    """Have the system end this process where it did not end by itself long after its drain.

    A worker whose connection is half open may wait for its broker for ever while it says
    goodbye; nobody who started the shutdown may be there to see it. Safe in a signal handler.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(grace_s + LAST_S))
