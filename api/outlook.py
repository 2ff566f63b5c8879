"""Where queued and running jobs stand: played forward at most once a second in each process."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace

from api.log import get_logger
from farm.errors import DatabaseUnavailable
from farm.outlook import Place
from farm.types import JobState
from farm.views import JobView

PLAY_EVERY_S = 1.0
NEWCOMER_S = 0.2
"""A job that was not there yet may have the farm played again after this."""
SHARE_MAX = 0.05
"""Of a process's time: a farm so long that playing it takes a second is played every 20 s."""

_log = get_logger("api.outlook")


class Outlooks:
    """Places of live jobs, as old as they need to be. Thread-safe; one caller plays, the others
    get what is known. While the database is away nothing is known.

    Args:
        load: the place of every live job, by id. Raises DatabaseUnavailable.
    """

    def __init__(
        self,
        load: Callable[[], Mapping[uuid.UUID, Place]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._played_at = float("-inf")
        self._took_s = 0.0
        self._places: Mapping[uuid.UUID, Place] = {}

    def placed(self, job: JobView) -> JobView:
        """The job with its place, where that is known. An ended job is returned as it is."""
        if job.state.is_terminal:
            return job
        age_s = self._refreshed(job.id)
        place = self._places.get(job.id)
        if place is None:
            return job
        if job.state is JobState.RUNNING:
            place = replace(place, position=None)
        if place.eta_s is not None:
            place = replace(place, eta_s=max(place.eta_s - age_s, 0.0))
        return replace(job, place=place)

    def _refreshed(self, job_id: uuid.UUID) -> float:
        """The age of what is known, in seconds, after it was played again where that is due."""
        due_s = PLAY_EVERY_S if job_id in self._places else NEWCOMER_S
        due_s = max(due_s, self._took_s / SHARE_MAX)
        if self._clock() - self._played_at >= due_s and self._lock.acquire(blocking=False):
            try:
                started = self._clock()
                self._places = self._load()
                self._played_at = self._clock()
                self._took_s = self._played_at - started
            except DatabaseUnavailable as error:
                self._places, self._played_at = {}, self._clock()
                _log.warning("the places of jobs are not known", error=str(error))
            finally:
                self._lock.release()
        return self._clock() - self._played_at
