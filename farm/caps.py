"""How many jobs may wait: an account's by its plan, a queue's by its model, and when to try again.

The submit's statement holds the caps: see ``submit_sql``. Here is what it is told, and what a
caller is told whom it refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from farm.errors import QueueFull, TooManyJobs
from farm.recent_sql import KNOWN_MODELS

RECOUNT_AFTER_S = 1.0
LATELY_S = 120.0
"""How far back is looked to tell how often jobs end."""
RETRY_MAX_S = 3600
_SEEN_WITHIN_S = 60.0
_NEAR = 500
"""A queue that has less room than this, or than a tenth, is counted for every submit."""


@dataclass(slots=True)
class _Known:
    counted_at: float
    jobs: int


@dataclass(frozen=True, slots=True)
class Backlogs:
    """Which submits of this process count the queue that they join.

    Counting ten thousand jobs takes longer than a submit. So a queue is counted once a second,
    and every time once it is nearly full; only then could one job more be too many.
    """

    clock: Callable[[], float] = time.monotonic
    _known: dict[str, _Known] = field(default_factory=dict)

    def must_count(self, queue: str, queue_max: int, joining: int = 1) -> bool:
        """Whether to count now that so many jobs are about to join this queue."""
        known = self._known.get(queue)
        if known is None or self.clock() - known.counted_at > RECOUNT_AFTER_S:
            return True
        known.jobs += joining
        return known.jobs > queue_max - max(_NEAR, queue_max // 10)

    def counted(self, queue: str, jobs: int) -> None:
        """So many jobs wait in the queue."""
        self._known[queue] = _Known(self.clock(), jobs)


def refusal(
    connection: Connection, values: Mapping[str, Any], live: int
) -> TooManyJobs | QueueFull | None:
    """Why a submit's jobs do not fit beside those that there are, or None where they do.

    Args:
        values: the submit's; ``jobs`` is how many it is about. Its queue is looked at where
            ``counted`` says so.
        live: the account's jobs that are queued or running.
    """
    over = live + values["jobs"] - values["jobs_max"]
    if over > 0:
        wait_s = _wait_s(connection, _ACCOUNT_ENDED, values, over)
        return TooManyJobs(
            f"This account has {live:,} jobs queued or running, and its plan allows "
            f"{values['jobs_max']:,} at once. Send this again once some have ended, "
            f"in {wait_s:,} s or more.",
            wait_s,
        )
    if not values["counted"]:
        return None
    waiting = connection.execute(_WAITING, values).scalar_one()
    over = waiting + values["jobs"] - values["queue_max"]
    if over > 0:
        wait_s = _wait_s(connection, _QUEUE_ENDED, values, over)
        return QueueFull(
            f"{values['model']} is in great demand: {waiting:,} jobs wait for it already. Nothing "
            f"was held or charged. Send this again in {wait_s:,} s.",
            wait_s,
        )
    return None


def _wait_s(connection: Connection, ended: Any, values: Mapping[str, Any], over: int) -> int:
    """Seconds until so many jobs should have ended, as often as they lately did."""
    asked = {**values, "lately_s": LATELY_S, "seen_s": _SEEN_WITHIN_S}
    jobs = connection.execute(ended, asked).scalar_one()
    if jobs:
        return retry_after_s(over * LATELY_S / jobs)
    # None ended lately: as long as a slow one takes, on the workers that there are.
    workers = connection.execute(_WORKERS, asked).scalar_one()
    return retry_after_s(over * values["typical_s"] / workers if workers else LATELY_S)


def retry_after_s(seconds: float) -> int:
    """Whole seconds for a Retry-After."""
    return min(max(math.ceil(seconds), 1), RETRY_MAX_S)


_WAITING = text("SELECT count(*) FROM jobs WHERE queue = :queue AND state = 'queued'")
# What ended lately was among its newest jobs, beside those that are live.
_ACCOUNT_ENDED = text(
    """
    SELECT count(*) FROM (
        SELECT finished_at FROM jobs WHERE account_id = :account
        ORDER BY created_at DESC LIMIT 2 * :jobs_max + 100
    ) AS newest
    WHERE finished_at > now() - :lately_s * interval '1 second'
    """
)
_QUEUE_ENDED = text(
    KNOWN_MODELS
    + """
    SELECT count(*) FROM known JOIN jobs ON jobs.model = known.model
    WHERE jobs.state = 'succeeded' AND jobs.queue = :queue
      AND jobs.finished_at > now() - :lately_s * interval '1 second'
    """
)
_WORKERS = text(
    """
    SELECT count(*) FROM nodes
    WHERE :queue = ANY(queues) AND seen_at > now() - :seen_s * interval '1 second'
    """
)
