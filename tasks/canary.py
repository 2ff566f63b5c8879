"""Canaries: control sends them down every queue, and whoever takes one says so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from celery import Celery

from farm import canaries
from farm.broker import celery_priority, connect, mapped_failures, messages_waiting
from farm.crash_points import Effect, around
from farm.errors import DatabaseUnavailable
from farm.messages import CANARY
from tasks.child import Child

FIRST = 0
"""Before every job, so that a long queue is not taken for one that nobody serves."""

_log = logging.getLogger(__name__)


def send_canaries(child: Child) -> int:
    """Send a canary down every queue that has none under way; returns how many.

    Raises:
        DatabaseUnavailable, BrokerUnavailable: the next run sends them.
    """
    queues = (*child.services.queues, *canaries.CONTROL_QUEUES)
    waiting = messages_waiting(child.celery)
    empty = [queue for queue in queues if not waiting.get(queue)]
    with (
        around(Effect.CANARY_SEND),
        canaries.due(child.services.db, queues, empty) as due,
    ):
        _send(child.celery, due)
    return len(due)


def answer_canary(child: Child, queue: str, worker: str) -> None:
    """Note that this worker took a canary from this queue.

    Opens no engine, and is answered by a worker that is being drained too. Where the database
    is away the canary is lost, as it should be: a job would be.
    """
    try:
        with around(Effect.CANARY_ANSWER):
            canaries.answer(child.services.db, queue, worker)
    except DatabaseUnavailable as error:
        _log.warning("the canary of %s is lost: %s", queue, error)


def _send(celery: Celery, queues: Sequence[str]) -> None:
    if not queues:
        return
    url = celery.conf.broker_url
    connection = celery.connection_for_write()
    with contextlib.closing(connection), mapped_failures(connection):
        connect(connection)
        producer = celery.amqp.Producer(connection, auto_declare=False)
        for queue in queues:
            celery.send_task(
                CANARY,
                queue=queue,
                priority=celery_priority(url, FIRST),
                producer=producer,
                ignore_result=True,
            )


class Quiet(logging.Filter):
    """Keeps Celery's two lines for every canary out of the logs: there are thousands a day."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a line about a canary that is as it should be."""
        facts = record.args
        told = isinstance(facts, dict) and facts.get("name") == CANARY
        return not (told and record.levelno <= logging.INFO)


def keep_quiet() -> None:
    """Let Celery say nothing of canaries in this process."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).addFilter(Quiet())
