"""For operators and their machines: is the process alive, is the farm ready, how busy is it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery
from flask import Blueprint, Response
from kombu.exceptions import KombuError

from api.auth import Access, needs
from api.log import get_logger
from api.metrics import CONTENT_TYPE, Metrics
from api.replies import json_reply
from api.runtime import Runtime
from farm.db import Database, schema_is_current
from farm.errors import DatabaseUnavailable

SEEN_WITHIN_S = 60.0
_ASK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 1.0

_log = get_logger("api.ops")


def blueprint(runtime: Runtime, metrics: Metrics) -> Blueprint:
    """``/healthz``, ``/readyz`` and ``/metrics``."""
    routes = Blueprint("ops", __name__)
    services = runtime.services
    watch = WorkerWatch(runtime.celery)

    @routes.get("/healthz")
    @needs(Access.PROBE)
    def healthz() -> Response:
        return json_reply({"status": "ok"})

    @routes.get("/readyz")
    @needs(Access.PROBE)
    def readyz() -> Response:
        database = _database_state(services.db)
        broker, seen = watch.look()
        queues = {queue: _queue_state(seen.get(queue)) for queue in services.queues}
        ready = database == broker == "ok" and all(q["ready"] for q in queues.values())
        body = {"ready": ready, "database": database, "broker": broker, "queues": queues}
        return json_reply(body, 200 if ready else 503)

    @routes.get("/metrics")
    @needs(Access.PROBE)
    def scrape() -> Response:
        return Response(metrics.scrape(), content_type=CONTENT_TYPE)

    return routes


class WorkerWatch:
    """Which queues have a worker, asked of the workers themselves over the broker.

    What nodes report would not do: their children report it, to the database. An answer here
    is the parent's, and came the way that jobs go.

    Asking takes up to a second and a message to every worker, so one caller asks at a time,
    at most every five seconds; the others get what is known.
    """

    def __init__(self, celery: Celery, clock: Callable[[], float] = time.monotonic) -> None:
        self._celery = celery
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = -_ASK_EVERY_S
        self._broker = "not asked yet"
        self._seen: dict[str, float] = {}

    def look(self) -> tuple[str, Mapping[str, float]]:
        """The broker's state (``ok`` or a sentence), and seconds since each queue had a worker."""
        first = self._broker == "not asked yet"
        if self._lock.acquire(timeout=2 * _ANSWER_WITHIN_S if first else 0):
            try:
                if self._clock() - self._asked_at >= _ASK_EVERY_S:
                    self._ask()
                    self._asked_at = self._clock()
            finally:
                self._lock.release()
        now = self._clock()
        return self._broker, {queue: now - seen for queue, seen in self._seen.items()}

    def _ask(self) -> None:
        try:
            with self._celery.connection_for_write(connect_timeout=_ANSWER_WITHIN_S) as connection:
                connection.ensure_connection(max_retries=1, timeout=_ANSWER_WITHIN_S)
                inspect = self._celery.control.inspect(
                    timeout=_ANSWER_WITHIN_S, connection=connection
                )
                answers: Mapping[str, Any] = inspect.active_queues() or {}
        except (KombuError, OSError) as error:
            _log.warning("the broker does not answer", error=str(error))
            self._broker = "does not answer"
            return
        self._broker = "ok"
        now = self._clock()
        self._seen |= {queue["name"]: now for queues in answers.values() for queue in queues}


def _queue_state(seen_s: float | None) -> dict[str, Any]:
    if seen_s is None:
        return {"ready": False, "worker_seen_s": None}
    return {"ready": seen_s <= SEEN_WITHIN_S, "worker_seen_s": round(seen_s, 1)}


def _database_state(db: Database) -> str:
    try:
        current = db.attempt(schema_is_current)
    except DatabaseUnavailable:
        return "does not answer"
    return "ok" if current else "has another schema: run `farm db upgrade`"
