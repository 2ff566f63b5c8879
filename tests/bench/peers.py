"""What the farm is measured against: bare Flask routes and bare Celery tasks.

Both are as their manuals write them, on Celery's defaults and on the same broker; gunicorn
and the worker get the same command line as the farm's own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery, Task
from flask import Flask

WAIT_S = 0.0


def make_celery() -> Celery:
    """A Celery application with nothing set but its broker and, where given, its queues.

    BENCH_QUEUES names the queues; BENCH_LOG is a file that gets a line for each task.
    """
    app = Celery("peer", broker=os.environ["BROKER_URL"], set_as_current=False)
    app.conf.task_ignore_result = True
    app.conf.broker_connection_retry_on_startup = True
    log = Path(os.environ.get("BENCH_LOG", os.devnull)).open("a", encoding="ascii")  # noqa: SIM115

    @app.task(name="peer.nothing", bind=True)
    def nothing(self: Task) -> None:
        """Do nothing; write down when, and from which queue it came."""
        started = time.monotonic()
        queue = self.request.delivery_info["routing_key"]
        log.write(f"{self.request.id} {queue} {started:.6f} {time.monotonic():.6f}\n")
        log.flush()

    return app


def create() -> Flask:
    """The peer of the API: an empty JSON route, and one that only calls ``apply_async``."""
    app = Flask("peer")
    nothing = make_celery().tasks["peer.nothing"]

    @app.get("/empty")
    def empty() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/apply")
    def apply() -> dict[str, str]:
        return {"id": nothing.apply_async().id}

    return app
