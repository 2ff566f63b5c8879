"""Which queue a worker of several models takes from next: the one whose model it has loaded.

Loading a model takes from seconds to minutes, so a worker that alternates between queues
spends its time on loading. ``ResidentFirst`` plugs into kombu's Redis transport
(``queue_order_strategy``), which waits on all queues at once with one BRPOP and takes from
the first that is not empty, in the order given here:

1. queues that are overdue, the longest first;
2. the queue served last, whose model is loaded;
3. the others, the longest unserved first.

A queue is overdue ``switch_after_s`` after it was last served or known to be empty. Redis
does not say which queues were empty when it returns a message, only that all were when the
wait ends without one. So a queue may be overdue although its messages are younger than the
bound; that costs one early switch per bound and queue, never a late one. An overdue queue
stays in front until it is served or found empty: no queue starves, however long the backlog
of the loaded model. With *k* queues overdue together, the last of them waits *k - 1* jobs more.

Priorities come first, as they do within one queue: the transport asks all queues for
priority 0, then all for 3, and so on. The order here counts among jobs of equal priority.

RabbitMQ is different: the server pushes from all queues in turn, and nothing here is asked.
There a worker should serve one model, or models that its device holds at the same time; with
others everything still works, with a model switch for nearly every job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class ResidentFirst:
    """A kombu queue cycle. One belongs to one channel and is used by one thread.

    Args:
        switch_after_s: how long a queue may go unserved while another one is being served.
        clock: seconds, monotonic.
    """

    def __init__(self, switch_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._switch_after_s = switch_after_s
        self._clock = clock
        self._served: str | None = None
        self._since: dict[str, float] = {}
        """When each queue was last served, or known to be empty."""
        self._waiting = False

    def update(self, queues: Iterable[str]) -> None:
        """The queues to take from are these now."""
        now = self._clock()
        self._since = {name: self._since.get(name, now) for name in queues}
        if self._served not in self._since:
            self._served = None

    def consume(self, n: int) -> list[str]:
        """At most ``n`` queues in the order to ask them; the transport now waits on them."""
        now = self._clock()
        if self._waiting:
            # Asked again without a message in between: all of them were empty just now.
            self._since = dict.fromkeys(self._since, now)
        self._waiting = True
        unserved = sorted(
            (q for q in self._since if q != self._served), key=self._since.__getitem__
        )
        overdue = [q for q in unserved if now - self._since[q] >= self._switch_after_s]
        others = unserved[len(overdue) :]
        loaded = [self._served] if self._served is not None else []
        return [*overdue, *loaded, *others][:n]

    def rotate(self, last_used: str) -> str:
        """A message came from this queue."""
        self._waiting = False
        self._served = last_used
        if last_used in self._since:
            self._since[last_used] = self._clock()
        return last_used


@dataclass(frozen=True, slots=True)
class ResidentFirstOrder:
    """What kombu calls to get a cycle for a channel."""

    switch_after_s: float

    def __call__(self) -> ResidentFirst:
        return ResidentFirst(self.switch_after_s)

    def __json__(self) -> str:
        """A worker asked for its statistics replies with all of its transport's options."""
        return repr(self)
