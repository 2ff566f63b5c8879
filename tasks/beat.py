"""What runs when, as one table; and a beat that does not fill the queue of an absent worker."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry, SchedulingError
from kombu.messaging import Producer

from farm.broker import mapped_failures, messages_waiting
from farm.canaries import EVERY_S
from farm.config import Settings, make_folder
from farm.crash_points import Effect, around
from farm.errors import BrokerUnavailable
from farm.messages import (
    AUDIT,
    CANARIES,
    CLEAN,
    CONTROL_QUEUE,
    ORPHANS,
    REAP,
    RENEW,
    SWEEP,
    WEBHOOKS,
    WEBHOOKS_QUEUE,
)

_log = logging.getLogger(__name__)

BACKLOG_MAX = 100
"""Beat sends nothing to a queue in which this many wait: each would be one more of the same."""
_LONG_AGO = datetime.fromtimestamp(0, UTC)
_QUEUES = {WEBHOOKS: WEBHOOKS_QUEUE}
"""Where a task has a queue of its own; the others go to control's."""


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Celery's ``beat_schedule``: task, and every how many seconds."""
    every_s = {
        SWEEP: settings.sweep_every_s,
        REAP: settings.sweep_every_s,
        RENEW: 60.0,
        CLEAN: 300.0,
        ORPHANS: 3600.0,
        AUDIT: 3600.0,
        # One that finds another one sending ends at once.
        WEBHOOKS: settings.sweep_every_s,
        CANARIES: EVERY_S,
    }
    return {
        name: {
            "task": name,
            "schedule": seconds,
            # Run late it would only repeat the run after it: a worker drops it unread.
            "options": {
                "queue": _QUEUES.get(name, CONTROL_QUEUE),
                "expires": max(seconds, 5.0),
            },
        }
        for name, seconds in every_s.items()
    }


class Scheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's scheduler, with a bound on what it leaves in a queue.

    Redis cannot expire a message in a list, so that while no control worker runs the list
    would grow without end.
    """

    def setup_schedule(self) -> None:
        """Open the file of what ran when, in a folder that is made if missing.

        Canaries are due at once: a farm that starts is to be seen to be ready.
        """
        make_folder(Path(self.schedule_filename).parent)
        super().setup_schedule()
        self.schedule[CANARIES].last_run_at = _LONG_AGO

    def apply_entry(self, entry: ScheduleEntry, producer: Producer | None = None) -> None:
        """Send a task that is due, unless too many wait already."""
        try:
            waiting = messages_waiting(self.app)[entry.options["queue"]]
        except BrokerUnavailable as error:
            _log.warning("%s not sent: %s", entry.name, error)
            return
        if waiting >= BACKLOG_MAX:
            _log.warning("%s not sent: %d messages wait for a worker", entry.name, waiting)
            return
        with around(Effect.BEAT):
            super().apply_entry(entry, producer)

    def apply_async(
        self, entry: ScheduleEntry, producer: Producer | None = None, **options: Any
    ) -> Any:
        """Celery's; it keeps one connection for good, also one that is broken.

        Raises:
            SchedulingError: it was not sent. The next one goes over a new connection.
        """
        try:
            return super().apply_async(entry, producer=producer, **options)
        except SchedulingError:
            self.__dict__.pop("producer", None)
            broken = self.__dict__.pop("connection", None)
            if broken is not None:
                with contextlib.suppress(BrokerUnavailable), mapped_failures(broken):
                    broken.release()
            raise
