"""Time limits by model: read from the catalogue of the worker that runs the job.

Celery's limits belong to a task or travel in its message. Here one task serves every model
and a message carries nothing, so the worker looks them up by the queue a message came from.

Celery's parent process enforces them from its event loop, which stands still while it waits for
a broker that is away. So the child has a hard limit of its own, which nothing can hold up.
"""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded
from celery.worker.request import Request

from farm.catalog import Catalog

T = TypeVar("T")

GRACE_S = 3.0
"""Celery's hard limit, which tells Flower of it, comes first by this much."""
_STDERR = 2
"""Python's own sys.stderr is Celery's log in a worker; this is what the log is written to."""


def queue_limits(catalog: Catalog) -> dict[str, tuple[int, int]]:
    """Hard and soft limit of each model queue, seconds; the longest where models share one."""
    limits: dict[str, tuple[int, int]] = {}
    for card in catalog.models.values():
        hard_s, soft_s = limits.get(card.queue, (0, 0))
        limits[card.queue] = max(hard_s, card.hard_limit_s), max(soft_s, card.soft_limit_s)
    return limits


def limited_request(catalog: Catalog) -> type[Request]:
    """A Celery request class that enforces the limits of the queue a message came from.

    At the soft limit SoftTimeLimitExceeded is raised in the child, at the hard limit the
    child is killed.
    """
    limits = queue_limits(catalog)

    class LimitedRequest(Request):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            found = limits.get(self.delivery_info.get("routing_key"))
            if found is not None:
                self.time_limits = found

    return LimitedRequest


def past_the_limit(work: Callable[[], T]) -> T:
    """Do what may be repeated and is no part of the run, such as waiting to settle it: the soft
    limit's signal may come in the middle of it, and comes once."""
    try:
        return work()
    except SoftTimeLimitExceeded:
        return work()


@contextlib.contextmanager
def process_ends_after(seconds: float) -> Iterator[None]:
    """Whoever is still inside after this long ends with its process, without any clean-up.

    The clock is a thread of the operating system that needs nothing of Python: it also ends
    what never lets another thread run. Where each thread was is written to the log before. A
    process has one such clock, so there is one such block at a time.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
