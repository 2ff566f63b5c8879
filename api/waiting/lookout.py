"""Reading jobs for the waiting room: one thread, many jobs a query."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence

from api.log import get_logger
from farm.errors import FarmError, FarmFault
from farm.views import JobView

BATCH = 500

_log = get_logger("api.waiting")

Look = Callable[[Sequence[uuid.UUID]], Mapping[uuid.UUID, JobView]]
"""The jobs of these ids, those that are there. Raises DatabaseUnavailable."""


class Lookout:
    """Looks at jobs when asked, those asked for meanwhile all at once.

    Args:
        look: reads them.
        seen: told of each batch, from this object's thread: the ids asked for with what was
            found, or with the error.
    """

    def __init__(
        self,
        look: Look,
        seen: Callable[[Sequence[uuid.UUID], Mapping[uuid.UUID, JobView] | FarmError], None],
    ) -> None:
        self._look = look
        self._seen = seen
        self._asked: queue.SimpleQueue[uuid.UUID | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def ask(self, job_id: uuid.UUID) -> None:
        """Look at this job soon. From any thread."""
        self._asked.put(job_id)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Finish the batch at hand, and no more."""
        self._asked.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            asked: set[uuid.UUID] = set()
            job_id = self._asked.get()
            while job_id is not None:
                asked.add(job_id)
                if len(asked) >= BATCH or self._asked.empty():
                    break
                job_id = self._asked.get()
            if asked:
                batch = list(asked)
                try:
                    found: Mapping[uuid.UUID, JobView] | FarmError = self._look(batch)
                except FarmError as error:
                    found = error
                except Exception as error:  # noqa: BLE001
                    # A bug must not leave everybody waiting for ever.
                    _log.error("jobs could not be looked at", exc_info=error)
                    found = FarmFault("This is a bug in the farm. It has been logged.")
                self._seen(batch, found)
            if job_id is None:
                return
