"""For operators and their machines: is the process alive, is the farm ready, how busy is it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from flask import Blueprint, Response
from kombu.exceptions import KombuError

from api.auth import Access, needs
from api.log import get_logger
from api.metrics import CONTENT_TYPE, Metrics
from api.replies import json_reply
from api.runtime import Runtime
from farm import canaries
from farm.canaries import QueueState
from farm.db import Database, schema_is_current
from farm.errors import DatabaseUnavailable, SetupError

_ASK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 1.0
# What Redis is asked with; RabbitMQ passes over it.
_QUICKLY = {"socket_timeout": _ANSWER_WITHIN_S, "socket_connect_timeout": _ANSWER_WITHIN_S}
_NOT_ASKED = "not asked yet"
_AWAY = "does not answer"
_UNKNOWN = "not known: the database says it"

_log = get_logger("api.ops")


def blueprint(runtime: Runtime, metrics: Metrics) -> Blueprint:
    """``/healthz``, ``/readyz`` and ``/metrics``."""
    routes = Blueprint("ops", __name__)
    services = runtime.services
    watch = BrokerWatch(runtime.celery)

    @routes.get("/healthz")
    @needs(Access.PROBE)
    def healthz() -> Response:
        return json_reply({"status": "ok"})

    @routes.get("/readyz")
    @needs(Access.PROBE)
    def readyz() -> Response:
        database, control, queues = _readiness(services.db, services.queues)
        parts = {"database": database, "broker": watch.look(), "control": control}
        ready = set(parts.values()) == {"ok"} and all(q["ready"] for q in queues.values())
        return json_reply({"ready": ready, **parts, "queues": queues}, 200 if ready else 503)

    @routes.get("/metrics")
    @needs(Access.PROBE)
    def scrape() -> Response:
        return Response(metrics.scrape(), content_type=CONTENT_TYPE)

    return routes


class BrokerWatch:
    """Whether the broker answers, asked at most every five seconds.

    Asking may take a second, so one caller asks at a time; the others get what is known.
    """

    def __init__(self, celery: Celery, clock: Callable[[], float] = time.monotonic) -> None:
        self._celery = celery
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = -_ASK_EVERY_S
        self._state = _NOT_ASKED

    def look(self) -> str:
        """``ok``, or what is wrong."""
        patience_s = 2 * _ANSWER_WITHIN_S if self._state == _NOT_ASKED else 0
        if self._lock.acquire(timeout=patience_s):
            try:
                if self._clock() - self._asked_at >= _ASK_EVERY_S:
                    self._state = self._ask()
                    self._asked_at = self._clock()
            finally:
                self._lock.release()
        return self._state

    def _ask(self) -> str:
        try:
            with self._celery.connection_for_write(
                connect_timeout=_ANSWER_WITHIN_S, transport_options=_QUICKLY
            ) as connection:
                connection.ensure_connection(max_retries=0)
        except (KombuError, OSError) as error:
            _log.warning("the broker does not answer", error=str(error))
            return _AWAY
        return "ok"


def _queue_answer(state: QueueState) -> dict[str, Any]:
    seconds = None if state.answered_s is None else round(max(0.0, state.answered_s), 1)
    return {
        "ready": state.is_ready,
        "answered_s": seconds,
        "answered_by": state.answered_by,
        "why_not": state.why_not,
    }


def _readiness(db: Database, queues: Sequence[str]) -> tuple[str, str, dict[str, Any]]:
    """What is to be said of the database, of control, and of each queue."""
    try:
        if not db.attempt(schema_is_current):
            return "has another schema: run `farm db upgrade`", _UNKNOWN, {}
        found = canaries.look(db, queues)
    except (DatabaseUnavailable, SetupError):
        return _AWAY, _UNKNOWN, {}
    return "ok", found.control, {queue: _queue_answer(found.queues[queue]) for queue in queues}
