"""The thread beside a running job: keeps its lease, carries its progress, hears of its end."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from billiard.exceptions import SoftTimeLimitExceeded

from farm import jobs, settle
from farm.errors import Cancelled, DatabaseUnavailable
from farm.messages import Ring
from farm.types import Claim
from tasks.child import Child

STOP_S = 5.0
"""The longest that the end of a job waits for a heartbeat in flight."""
_LOOK_S = 0.25
"""How often the thread looks at the drain's deadline."""

_log = logging.getLogger(__name__)


class Heartbeat:
    """Renews a claim's lease every third of it, from entering to leaving the ``with`` block.

    ``on_step`` is for the engine. It raises Cancelled at the first model step after the job
    stopped being this attempt's: cancelled, taken over, or handed back because the worker is
    being drained. It raises SoftTimeLimitExceeded past the model's limit, which Celery's signal
    also does, once: a library that catches everything where it arrives can lose it.

    While the database is away nobody else can take the job either, so the job goes on and
    the thread keeps trying, for as long as a finished job would wait to be settled. If the
    job was taken over by then, the first answer says so.
    """

    def __init__(
        self, child: Child, claim: Claim, *, patience_s: float = settle.PATIENCE_S
    ) -> None:
        self._child = child
        self._db = child.services.db
        self._claim = claim
        self._lease_s = child.services.settings.lease_s
        self._patience_s = max(self._lease_s, patience_s)
        self._progress = (0, 0)
        self._lost = ""
        self._limit_s = child.services.catalog.models[claim.model].soft_limit_s
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def on_step(self, step: int, steps: int) -> None:
        """Note progress. Raises Cancelled when the job is no longer ours."""
        self._progress = (step, steps)
        self.check()

    def check(self) -> None:
        """Raises Cancelled, saying why, when the job is no longer ours; SoftTimeLimitExceeded
        when it has run for too long."""
        if self._lost:
            raise Cancelled(self._lost)
        if time.monotonic() - self._started > self._limit_s:
            raise SoftTimeLimitExceeded

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            # It is waiting for the database and ends with that wait; it can do no harm,
            # because every statement of it names this attempt.
            _log.warning("the heartbeat of %s did not end within %g s", self._claim.job_id, STOP_S)

    def _run(self) -> None:
        heard = time.monotonic()
        due = heard + self._lease_s / 3
        while not self._lost and not self._stop.wait(min(_LOOK_S, self._lease_s / 10)):
            now = time.monotonic()
            try:
                if self._child.drain.is_over:
                    self._hand_back()
                elif now >= due:
                    self._renew()
                    heard, due = now, now + self._lease_s / 3
            except DatabaseUnavailable:
                due = now + 1.0
                if now - heard > self._patience_s:
                    self._lost = "the database has been away for too long"

    def _renew(self) -> None:
        step, steps = self._progress
        claim = self._claim
        if not jobs.heartbeat(self._db, claim.job_id, claim.attempt, self._lease_s, step, steps):
            self._lost = "it was cancelled or taken over"

    def _hand_back(self) -> None:
        if jobs.hand_back(self._db, self._claim.job_id, self._claim.attempt):
            self._lost = "it was handed back, because this worker is being stopped"
            ring = Ring(self._claim.job_id, self._claim.queue, self._claim.priority)
            self._child.dispatcher.ring(ring)
        elif not self._stop.is_set():
            self._lost = "it was cancelled or taken over"
