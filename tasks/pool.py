"""The worker's pool of processes: Celery's, whose child can end itself between two jobs.

Some faults leave a process in which every later job fails too: an import or a load that was cut
short, a GPU that refused. Ending such a child by a signal, or from inside its job, looks to the
parent like a crash. A child that leaves when it would wait for its next job has nothing in hand,
and the parent starts another as it does for one that has run its share of jobs.
"""

from __future__ import annotations

import threading
from typing import Any

from celery.concurrency import asynpool, prefork

retiring = threading.Event()
"""Set in a child that should end before its next job."""


class _Worker(asynpool.Worker):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Looked at before each wait for a job; where it is set, the process ends as it should.
        self._shutdown = retiring


class _Pool(asynpool.AsynPool):  # type: ignore[misc]
    Worker = _Worker


class TaskPool(prefork.TaskPool):  # type: ignore[misc]
    """Celery's prefork pool, with children that may retire."""

    Pool = _Pool
