"""Where queued and running jobs stand: played forward at most once a second in each process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from api.log import get_logger
from farm.errors import DatabaseUnavailable
from farm.outlook import Place, Snapshot
from farm.types import JobState
from farm.views import JobView

PLAY_EVERY_S = 1.0
NEWCOMER_S = 0.05
"""A job that came after the last time may have the farm played again after this."""
SHARE_MAX, NEWCOMER_SHARE_MAX = 0.02, 0.25
"""Of a process's time: a farm so long that playing it takes a second is played every 50 s, and
every 4 s where jobs keep coming."""

_log = get_logger("api.outlook")


class Outlooks:
    """Places of live jobs, as old as they need to be. Thread-safe; one caller plays, the others
    get what is known. While the database is away nothing is known.

    Args:
        load: the place of every live job. Raises DatabaseUnavailable.
    """

    def __init__(
        self,
        load: Callable[[], Snapshot],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._played_at = float("-inf")
        self._took_s = 0.0
        self._known: Snapshot | None = None

    def placed(self, job: JobView) -> JobView:
        """The job with its place, where that is known. An ended job is returned as it is."""
        if job.state.is_terminal:
            return job
        age_s = self._refreshed(job)
        place = self._known.places.get(job.id) if self._known is not None else None
        if place is None:
            return job
        position = None if job.state is JobState.RUNNING else place.position
        eta_s = None if place.eta_s is None else max(place.eta_s - age_s, 0.0)
        return job._replace(place=Place(position, eta_s))

    def _refreshed(self, job: JobView) -> float:
        """The age of what is known, in seconds, after it was played again where that is due."""
        if self._known is not None and job.created_at > self._known.as_of:
            due_s = max(NEWCOMER_S, self._took_s / NEWCOMER_SHARE_MAX)
        else:
            due_s = max(PLAY_EVERY_S, self._took_s / SHARE_MAX)
        if self._clock() - self._played_at >= due_s and self._lock.acquire(blocking=False):
            try:
                started = self._clock()
                self._known = self._load()
                self._played_at = self._clock()
                self._took_s = self._played_at - started
            except DatabaseUnavailable as error:
                self._known, self._played_at = None, self._clock()
                _log.warning("the places of jobs are not known", error=str(error))
            finally:
                self._lock.release()
        return self._clock() - self._played_at
