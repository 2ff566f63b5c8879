"""The thread beside a running job: keeps its lease, carries its progress, hears of its end."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from types import TracebackType
from typing import Self

from billiard.exceptions import SoftTimeLimitExceeded

from farm import jobs, settle
from farm.crash_points import RUN_MID, reach
from farm.errors import Cancelled, DatabaseUnavailable
from farm.events import JobEvent
from farm.messages import Ring
from farm.types import Claim, JobState
from tasks.child import Child

STOP_S = 5.0
"""The longest that the end of a job waits for a heartbeat in flight."""
_LOOK_S = 0.25
"""How often the thread looks at the drain's deadline."""
_ASK_S = 1.0
"""How often the database is asked for a cancel while none would be heard of otherwise."""
_SAVE_S = 2.0
"""How old the steps are that somebody sees who asks for the job and does not watch it."""
_TELL_S = 0.1
"""Steps that come quicker than this are not all told to those who watch."""

_log = logging.getLogger(__name__)


class Heartbeat:
    """Renews a claim's lease every third of it, from entering to leaving the ``with`` block.

    ``on_step`` is for the engine. It raises Cancelled at the first model step after the job
    stopped being this attempt's: cancelled, taken over, or handed back because the worker is
    being drained. It raises SoftTimeLimitExceeded past the model's limit, which Celery's signal
    also does, once: a library that catches everything where it arrives can lose it.

    A cancel is heard as it is made, and the database asked whether it is true; where nobody
    can tell of cancels, the database is asked every second. Whoever watches the job is told of
    its steps.

    While the database is away nobody else can take the job either, so the job goes on and
    the thread keeps trying, for as long as a finished job would wait to be settled. If the
    job was taken over by then, the first answer says so.

    Past the model's hard limit no lease is renewed: whatever became of the process that should
    have been ended, the job is then taken from it.
    """

    def __init__(
        self, child: Child, claim: Claim, *, patience_s: float = settle.PATIENCE_S
    ) -> None:
        self._child = child
        self._db = child.services.db
        self._claim = claim
        self._lease_s = child.services.settings.lease_s
        self._patience_s = max(self._lease_s, patience_s)
        self._progress = self._told = self._saved = (0, 0)
        self._told_at = self._renewed_at = 0.0
        self._lost = ""
        self._cancel_heard = False
        card = child.services.catalog.models[claim.model]
        self._limit_s, self._hard_limit_s = card.soft_limit_s, card.hard_limit_s
        self._started = time.monotonic()
        self._stopping = False
        self._wake = threading.Event()
        self._watching = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def progress(self) -> tuple[int, int]:
        """The last step that was noted, and of how many; (0, 0) before the first."""
        return self._progress

    def on_step(self, step: int, steps: int) -> None:
        """Note progress. Raises Cancelled when the job is no longer ours."""
        self._progress = (step, steps)
        self._wake.set()
        reach(RUN_MID)
        self.check()

    def check(self) -> None:
        """Raises Cancelled, saying why, when the job is no longer ours; SoftTimeLimitExceeded
        when it has run for too long."""
        if self._lost:
            raise Cancelled(self._lost)
        if time.monotonic() - self._started > self._limit_s:
            raise SoftTimeLimitExceeded

    def __enter__(self) -> Self:
        watching = self._child.cancellations.watching(self._claim.job_id, self._hear)
        self._watching.enter_context(watching)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watching.close()
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            # It is waiting for the database and ends with that wait; it can do no harm,
            # because every statement of it names this attempt.
            _log.warning("the heartbeat of %s did not end within %g s", self._claim.job_id, STOP_S)

    def _hear(self) -> None:
        self._cancel_heard = True
        self._wake.set()

    def _run(self) -> None:
        # The first look comes soon: a cancel may have come before this could hear of it.
        heard = due = time.monotonic()
        self._tell()
        while not self._lost:
            self._wake.wait(min(_LOOK_S, self._lease_s / 10))
            self._wake.clear()
            if self._stopping:
                return
            now = time.monotonic()
            if now - self._started > self._hard_limit_s:
                _log.error("job %s is past its time; its lease runs out", self._claim.job_id)
                return
            try:
                if self._child.drain.is_over:
                    self._hand_back()
                elif now >= due or self._cancel_heard or self._is_worth_saving(now):
                    self._cancel_heard = False
                    self._renew()
                    heard, due = now, now + self._next_s()
                if self._progress != self._told and now - self._told_at >= _TELL_S:
                    self._tell()
            except DatabaseUnavailable:
                due = now + 1.0
                if now - heard > self._patience_s:
                    self._lost = "the database has been away for too long"

    def _is_worth_saving(self, now: float) -> bool:
        return self._progress != self._saved and now - self._renewed_at >= _SAVE_S

    def _next_s(self) -> float:
        """Seconds until the lease is renewed, or looked at, again."""
        third_s = self._lease_s / 3
        return third_s if self._child.cancellations.is_heard else min(_ASK_S, third_s)

    def _tell(self) -> None:
        self._told, self._told_at = self._progress, time.monotonic()
        claim = self._claim
        self._child.announcer.tell(
            JobEvent(claim.job_id, JobState.RUNNING, claim.attempt, *self._told)
        )

    def _renew(self) -> None:
        # Of the try, not of the success: a database that is away is not asked at every step.
        self._renewed_at = time.monotonic()
        step, steps = self._saved = self._progress
        claim = self._claim
        if not jobs.heartbeat(self._db, claim.job_id, claim.attempt, self._lease_s, step, steps):
            self._lost = "it was cancelled or taken over"

    def _hand_back(self) -> None:
        if jobs.hand_back(self._db, self._claim.job_id, self._claim.attempt):
            self._lost = "it was handed back, because this worker is being stopped"
            ring = Ring(self._claim.job_id, self._claim.queue, self._claim.priority)
            self._child.dispatcher.ring(ring)
        elif not self._stopping:
            self._lost = "it was cancelled or taken over"
