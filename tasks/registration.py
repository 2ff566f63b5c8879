"""The application with every task registered, and each child's life tied to its process."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from celery import Celery, Task, signals

from farm import messages
from farm.broker import is_redis, make_celery
from farm.config import Settings
from farm.services import open_catalog
from tasks import sweep
from tasks.affinity import ResidentFirstOrder
from tasks.beat import schedule
from tasks.canary import answer_canary, keep_quiet, send_canaries
from tasks.child import Child, ChildSlot
from tasks.drain import Drain, end_at_last
from tasks.fetch import fetch
from tasks.generate import generate
from tasks.limits import limited_request
from tasks.webhooks import FOR_S, send_webhooks

CONTROL_SOFT_LIMIT_S, CONTROL_HARD_LIMIT_S = 900, 960
"""An audit of a large farm is the longest control task."""
FETCH_SOFT_LIMIT_S, FETCH_HARD_LIMIT_S = 50, 55
"""Shorter than a fetch's lease, longer than two downloads may take and be decoded."""


def build(settings: Settings) -> tuple[Celery, ChildSlot]:
    """The application with every task registered, and the slot for a process's Child.

    Raises:
        SetupError: no broker is set, or the catalogue is wrong.
    """
    app = make_celery(settings, open_catalog(settings))
    slot = ChildSlot(settings, app, Drain())
    _register(app, slot)
    if is_redis(settings.need_broker()):
        order = ResidentFirstOrder(settings.switch_after_s)
        app.conf.broker_transport_options["queue_order_strategy"] = order
    app.conf.worker_pool = "tasks.pool:TaskPool"
    app.conf.worker_consumer = "tasks.consumer:Consumer"
    app.conf.beat_schedule = schedule(settings)
    app.conf.beat_scheduler = "tasks.beat:Scheduler"
    return app, slot


def _register(app: Celery, slot: ChildSlot) -> None:
    """Every task by name, in one place."""

    def run_generate(task: Task) -> None:
        generate(slot.open(), uuid.UUID(task.request.id), task.request.hostname)

    request = limited_request(open_catalog(slot.settings))

    def run_fetch(task: Task) -> None:
        fetch(slot.open(), uuid.UUID(task.request.id))

    def run_canary(task: Task) -> None:
        queue = task.request.delivery_info["routing_key"]
        answer_canary(slot.open(), queue, task.request.hostname)

    # Not shared: Celery would register them with every other application of the process too.
    app.task(run_generate, name=messages.GENERATE, bind=True, shared=False, Request=request)
    app.task(
        run_fetch,
        name=messages.FETCH,
        bind=True,
        shared=False,
        soft_time_limit=FETCH_SOFT_LIMIT_S,
        time_limit=FETCH_HARD_LIMIT_S,
    )
    # No events: Flower keeps the last ten thousand tasks, and would show little else.
    app.task(run_canary, name=messages.CANARY, bind=True, shared=False, send_events=False)
    app.task(
        _on_child(slot, send_webhooks),
        name=messages.WEBHOOKS,
        shared=False,
        soft_time_limit=FOR_S + 60,
        time_limit=FOR_S + 90,
    )
    control = {
        messages.SWEEP: sweep.sweep,
        messages.REAP: sweep.reap,
        messages.CLEAN: sweep.clean,
        messages.ORPHANS: sweep.orphans,
        messages.RENEW: sweep.renew,
        messages.AUDIT: sweep.audit_books,
        messages.CANARIES: send_canaries,
    }
    for name, work in control.items():
        app.task(
            _on_child(slot, work),
            name=name,
            shared=False,
            soft_time_limit=CONTROL_SOFT_LIMIT_S,
            time_limit=CONTROL_HARD_LIMIT_S,
        )


def _on_child(slot: ChildSlot, work: Callable[[Child], int]) -> Callable[[], int]:
    def run() -> int:
        return work(slot.open())

    return run


def follow_worker(slot: ChildSlot) -> None:
    """Tie a Child to its process, and the drain to the worker's shutdown. No money moves here."""

    def child_starts(**_: Any) -> None:
        slot.open()

    def child_ends(**_: Any) -> None:
        slot.close()

    def shutting_down(**_: Any) -> None:
        slot.drain.begin(slot.settings.drain_s)
        end_at_last(slot.settings.drain_s)

    def taken(task: Task, **_: Any) -> None:
        slot.ears.took((task.request.delivery_info or {}).get("routing_key", ""))

    def ended(**_: Any) -> None:
        slot.ears.is_busy = False

    keep_quiet()
    signals.worker_process_init.connect(child_starts, weak=False)
    signals.worker_process_shutdown.connect(child_ends, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    signals.task_prerun.connect(taken, weak=False)
    signals.task_postrun.connect(ended, weak=False)
