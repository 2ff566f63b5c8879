"""What one worker child holds between tasks: services, loaded engines, a line to the broker."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, signals

from farm.broker import queue_names
from farm.cards import ModelCard
from farm.config import Settings
from farm.dispatch import Dispatcher
from farm.events import Announcer, Cancellations, JobEvent
from farm.services import Services, build_services, open_catalog
from farm.types import Artifact, Claim, JobState
from farm.upstreams import load_upstreams
from models import base, registry
from tasks import pool
from tasks.breakers import Breakers
from tasks.deaf import Ears, Watchdog
from tasks.drain import Drain
from tasks.reporter import NodeName, Reporter
from tasks.residency import GIB, Residency, in_one_piece
from tasks.upstreams import upstream_setup

_INTERRUPTS = (SoftTimeLimitExceeded,)
"""A time limit's signal may arrive in the middle of a library's call."""
_JUDGE_BYTES = GIB // 2
"""Room for the classifier that looks at results: 0.35 GB of weights in single precision."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Child:
    """One child process's collaborators. Engines are loaded, and connections made, on use."""

    services: Services
    residency: Residency
    dispatcher: Dispatcher
    celery: Celery
    drain: Drain
    announcer: Announcer
    cancellations: Cancellations
    reporter: Reporter
    judge: base.Judge | None = None
    retiring: threading.Event = field(default_factory=threading.Event)

    def refusal(self, artifact: Artifact) -> str | None:
        """The label for which the result policy refuses what an engine made, or None.

        Raises:
            SetupError, OutOfMemory, EngineFault: it could not be told; then nobody may have it.
            LoadInterrupted: the time was up before the judge was loaded.
        """
        if self.judge is None:
            return None
        with in_one_piece():
            self.judge.load(base.pick_device())
        return self.judge.refusal(artifact)

    def tell(self, claim: Claim, state: JobState) -> None:
        """Let whoever waits know that an attempt has ended, and how."""
        self.announcer.tell(JobEvent(claim.job_id, state, claim.attempt))

    def retire(self, why: str) -> None:
        """End this process before its next job, because that would fail here; the pool starts
        another, which may take it."""
        _log.warning("this process ends and another takes its place: %s", why)
        self.retiring.set()

    def close(self) -> None:
        """Unload every engine, send what is still to be rung, close every connection.

        First of all the node is taken off the list: it serves nobody any more. What a process
        that retires holds is left to the system: unloading it may fail as everything else does.
        """
        self.reporter.close()
        if not self.retiring.is_set():
            self.residency.clear()
            if self.judge is not None:
                self.judge.unload()
        self.cancellations.close()
        self.announcer.close()
        self.dispatcher.stop()
        self.services.dispose()


@dataclass(slots=True)
class ChildSlot:
    """Where a process's one Child is, built in the process that uses it, never before a fork.

    Before the fork it learns from Celery which worker the process belongs to; in a process of
    no worker nothing is reported.
    """

    settings: Settings
    celery: Celery
    drain: Drain
    breakers: Breakers = field(init=False)
    ears: Ears = field(init=False)
    _child: Child | None = field(default=None, init=False)
    _node: NodeName | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # Here, and not in the child: those that are forked share it.
        catalog = open_catalog(self.settings)
        upstreams = load_upstreams(self.settings, catalog)
        self.ears = Ears(queue_names(catalog))
        self.breakers = Breakers(upstream.base_url for upstream in upstreams.values())
        signals.celeryd_after_setup.connect(self._learn_node, weak=False)

    def _learn_node(self, sender: str, instance: Any, **_: Any) -> None:
        queues = tuple(instance.app.amqp.queues.consume_from)
        self._node = NodeName(sender, os.getpid(), queues, time.monotonic())

    def open(self) -> Child:
        """This process's Child. Raises SetupError where it cannot run as it is set up."""
        if self._child is None:
            services = build_services(self.settings)
            residency = _residency(services, self.breakers)
            dispatcher = Dispatcher(self.celery)
            judge = _judge(services)
            redis_url = self.settings.limits_url
            self._child = Child(
                services,
                residency,
                dispatcher,
                self.celery,
                self.drain,
                Announcer(redis_url),
                Cancellations(redis_url),
                Reporter(services, residency, self.drain),
                judge,
                pool.retiring,
            )
            if self._node is not None:
                self._child.reporter.start(self._node)
                Watchdog(services, self.celery, self.drain, self.ears).start(self._node)
        return self._child

    def close(self) -> None:
        """Close it, where there is one."""
        if self._child is not None:
            child, self._child = self._child, None
            child.close()


def _judge(services: Services) -> base.Judge | None:
    settings = services.settings
    if not settings.result_moderation:
        return None
    return registry.create_judge(
        settings.result_moderation,
        settings.refused_labels,
        services.catalog.result_moderation,
        interrupts=_INTERRUPTS,
    )


def _residency(services: Services, breakers: Breakers) -> Residency:
    settings, upstreams = services.settings, services.upstreams

    def create(card: ModelCard) -> base.Engine:
        upstream = upstreams.get(card.id)
        return registry.create(
            card,
            settings.weights,
            cache=settings.data / "weights",
            interrupts=_INTERRUPTS,
            upstream=None
            if upstream is None
            else upstream_setup(upstream, card, settings, breakers.of(upstream.base_url)),
        )

    reserved_bytes = _JUDGE_BYTES if settings.result_moderation else 0

    def budget_bytes(device: str) -> int:
        if settings.vram_gb is not None:
            return int(settings.vram_gb * GIB) - reserved_bytes
        return base.device_memory_bytes(device) - reserved_bytes

    # The tiny checkpoints take a few megabytes, whatever the card says of the real weights.
    return Residency(create, base.pick_device, budget_bytes, trust_cards=settings.weights != "tiny")
