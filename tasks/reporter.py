"""The thread in each child that tells what its worker is, holds and does: the nodes' table.

A node is a worker, so every child of one writes the same row. Where that matters there is one
child: a worker of models has one, because it has one GPU. The children of a control worker hold
no model and say the same, whoever comes last; of those that wait for upstreams the row shows the
job of the one that spoke last.

The child speaks for its parent, which takes the messages: of a parent that is stopped it says
nothing, and when the parent dies the system ends the child. So a row that is fresh is that of a
worker that takes messages.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import psutil

from farm import nodes
from farm.cards import UPSTREAM_QUEUE
from farm.config import visible_gpus
from farm.errors import DatabaseUnavailable, SetupError
from farm.services import Services
from farm.types import Claim
from models import base
from tasks.drain import Drain
from tasks.residency import Residency

IDLE_S = 10.0
BUSY_S = 2.0
LEAST_S = 0.5
"""A burst of short jobs is not told one by one."""
_LOOK_S = 0.5
"""How often the thread looks whether there is news: a model loaded, the drain begun."""
_CLOSE_S = 2.0
"""The longest that the end of a child waits for its last word."""
_NO_GPU = ""
_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE)

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Knows how far a running job is: the step, and of how many."""

    @property
    def progress(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class NodeName:
    """Which worker this process is a child of; ``started`` is on the monotonic clock."""

    name: str
    pid: int
    queues: tuple[str, ...]
    started: float


@dataclass(frozen=True, slots=True)
class _Running:
    job_id: uuid.UUID
    started: float
    source: Progress


class Reporter:
    """Reports every ten seconds, every two while a job runs, and at once when something changed.

    It never holds a job up: a job sets two fields, and the thread works beside it. A database
    that is away is asked again at the next turn, and named in the log once.

    Nothing is reported until ``start``; ``running`` may be used all the same.
    """

    def __init__(self, services: Services, residency: Residency, drain: Drain) -> None:
        self._db = services.db
        self._device_queues = frozenset(services.catalog.queues) - {UPSTREAM_QUEUE}
        self._residency = residency
        self._drain = drain
        self._job: _Running | None = None
        self._is_away = False
        self._news = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, node: NodeName) -> None:
        """Report for this node from now on, in a thread."""
        self._thread = threading.Thread(
            target=self._run, args=(node,), name="reporter", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Report no more, and take back what was reported.

        A worker that goes on has a new child in a moment, which reports for it again.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        self._news.set()
        thread.join(_CLOSE_S)
        if thread.is_alive():
            _log.warning("the end of this node could not be told within %g s", _CLOSE_S)

    @contextlib.contextmanager
    def running(self, claim: Claim, source: Progress) -> Iterator[None]:
        """Inside the block this node runs that job, and is as far as ``source`` says."""
        self._job = _Running(claim.job_id, time.monotonic(), source)
        self._news.set()
        try:
            yield
        finally:
            self._job = None
            self._news.set()

    def _run(self, node: NodeName) -> None:
        uses_device = not self._device_queues.isdisjoint(node.queues)
        device = base.DeviceWatch(visible_gpus() if uses_device else _NO_GPU)
        versions = device.versions()
        told: tuple[Mapping[str, nodes.HeldModel], bool] | None = None
        due = 0.0
        while not self._stop.is_set():
            state = (self._residency.held, self._drain.has_begun)
            now = time.monotonic()
            if now >= due or state != told or self._news.is_set():
                self._news.clear()
                if not _is_stopped(node.pid):
                    self._tell(self._report(node, device, versions))
                told, due = state, now + (BUSY_S if self._job else IDLE_S)
                self._stop.wait(LEAST_S)
            self._news.wait(_LOOK_S)
        with self._named_outages():
            nodes.remove(self._db, node.name)

    def _report(
        self, node: NodeName, device: base.DeviceWatch, versions: Mapping[str, str]
    ) -> nodes.Report:
        now = time.monotonic()
        job = self._job
        step, steps = job.source.progress if job else (0, 0)
        where = self._residency.device or (base.FIRST_GPU if device.has_gpu else base.CPU)
        seen = device.look(where)
        return nodes.Report(
            name=node.name,
            host=socket.gethostname(),
            pid=node.pid,
            # Being drained it takes no more jobs, and nobody should count on it.
            queues=() if self._drain.has_begun else node.queues,
            device=where,
            gpu=seen.gpu,
            memory_bytes=seen.memory_bytes,
            memory_used_bytes=seen.memory_used_bytes,
            up_s=now - node.started,
            models=self._residency.held,
            versions=versions,
            job_id=job.job_id if job else None,
            job_s=now - job.started if job else 0.0,
            step=step,
            steps=steps,
        )

    def _tell(self, report: nodes.Report) -> None:
        with self._named_outages():
            nodes.report(self._db, report)

    @contextlib.contextmanager
    def _named_outages(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseUnavailable, SetupError) as error:
            if not self._is_away:
                _log.warning("what this node holds cannot be told: %s", error)
            self._is_away = True
        else:
            self._is_away = False


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() in _STOPPED
    except psutil.NoSuchProcess:
        return True
