"""What the farm is measured against: bare Flask routes and a bare Celery task.

Both are as their manuals write them, on Celery's defaults and on the same broker; gunicorn
and the worker get the same command line as the farm's own.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from celery import Celery, Task
from flask import Flask

NOTHING = "peer.nothing"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the bare task, in seconds of the machine's monotonic clock."""

    queue: str
    started: float
    ended: float


def make_celery() -> Celery:
    """A Celery application with nothing set but its broker.

    BENCH_LOG is a file that gets a line for each task that a worker of it runs.
    """
    app = Celery("peer", broker=os.environ["BROKER_URL"], set_as_current=False)
    app.conf.task_ignore_result = True
    app.conf.broker_connection_retry_on_startup = True
    log = Path(os.environ.get("BENCH_LOG", os.devnull)).open("a", encoding="ascii")  # noqa: SIM115

    def nothing(task: Task, seconds: float = 0.0) -> None:
        started = time.monotonic()
        if seconds:
            time.sleep(seconds)
        queue = task.request.delivery_info["routing_key"]
        log.write(f"{queue} {started:.6f} {time.monotonic():.6f}\n")
        log.flush()

    app.task(nothing, name=NOTHING, bind=True)
    return app


def runs(log: Path) -> list[Run]:
    """What the bare task wrote down, in the order it ran."""
    if not log.exists():
        return []
    lines = (line.split() for line in log.read_text("ascii").splitlines())
    return [Run(line[0], float(line[1]), float(line[2])) for line in lines]


class Caller:
    """Sends the bare task from this process."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("peer", broker=broker_url, set_as_current=False)

    def send(self, queue: str, seconds: float = 0.0) -> float:
        """Send a task that takes ``seconds``; the monotonic second at which this began."""
        now = time.monotonic()
        self._app.send_task(NOTHING, args=(seconds,), queue=queue, ignore_result=True)
        return now

    def close(self) -> None:
        """Close the connections."""
        self._app.close()


def create() -> Flask:
    """The peer of the API: an empty JSON route, and one that only calls ``apply_async``."""
    app = Flask("peer")
    nothing = make_celery().tasks[NOTHING]

    @app.get("/empty")
    def empty() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/apply")
    def apply() -> dict[str, str]:
        return {"id": nothing.apply_async().id}

    return app
