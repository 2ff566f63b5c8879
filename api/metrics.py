"""What Prometheus scrapes: request times of every API process, and the farm's gauges.

Requests are counted in files that all API processes of a machine share, so that a scrape
answered by any of them tells of all. Jobs and queues are asked of the database at the scrape:
they are the same whoever answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from farm import canaries, jobs, nodes, views, vitals
from farm.catalog import Catalog
from farm.db import Database
from farm.errors import DatabaseUnavailable
from farm.types import CREDIT_TENTHS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FILES_MAX = 256


class Metrics:
    """One process's share of the request times, and the answer to a scrape.

    Args:
        folder: where the processes of this machine keep their counts
            (``PROMETHEUS_MULTIPROC_DIR`` must name the same one before prometheus_client is
            first imported), or None for a process that counts alone.
    """

    def __init__(self, db: Database, catalog: Catalog, folder: Path | None = None) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self._gauges = CollectorRegistry()
        self._gauges.register(_FarmGauges(db, catalog))
        self._gauges.register(_NodeGauges(db))
        self._gauges.register(_VitalGauges(db, catalog))
        self._seconds = Histogram(
            "farm_http_request_seconds",
            "Time to answer a request, by route and status.",
            ("endpoint", "status"),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._children: dict[tuple[str, int], Histogram] = {}

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        child = self._children.get((endpoint, status))
        if child is None:
            child = self._seconds.labels(endpoint, str(status))
            self._children[endpoint, status] = child
        child.observe(seconds)

    def scrape(self) -> bytes:
        """Everything, in Prometheus' text format."""
        requests = self._registry
        if self._folder is not None:
            requests = CollectorRegistry()
            MultiProcessCollector(requests, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(requests) + generate_latest(self._gauges)


class _FarmGauges(Collector):
    def __init__(self, db: Database, catalog: Catalog) -> None:
        self._db = db
        self._queues = catalog.queues

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("farm_database_up", "1 when PostgreSQL answers.")
        live = GaugeMetricFamily(
            "farm_jobs", "Live jobs, by queue and state.", labels=("queue", "state")
        )
        wait = GaugeMetricFamily(
            "farm_queue_oldest_wait_seconds",
            "How long the oldest queued job of a queue has waited.",
            labels=("queue",),
        )
        held = GaugeMetricFamily("farm_held_credits", "Credits held by live jobs.")
        try:
            depths = jobs.depths(self._db)
            waits = jobs.oldest_wait(self._db, self._queues)
            held_tenths = views.held_tenths(self._db)
        except DatabaseUnavailable:
            up.add_metric((), 0)
            return [up]
        up.add_metric((), 1)
        for (queue, state), count in depths.items():
            live.add_metric((queue, state.value), count)
        for queue in self._queues:
            wait.add_metric((queue,), waits.get(queue, 0.0))
        held.add_metric((), held_tenths / CREDIT_TENTHS)
        return [up, live, wait, held]


class _NodeGauges(Collector):
    """What the workers report of themselves; a silent one is down for an hour, then forgotten."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def collect(self) -> Iterable[Metric]:
        try:
            known = nodes.known_nodes(self._db)
        except DatabaseUnavailable:  # farm_database_up says it
            return []
        up = _node_gauge("up", "1 when the worker reported within the last minute.")
        busy = _node_gauge("busy", "1 while the worker runs a job.")
        memory = _node_gauge("memory_bytes", "Memory of the GPU, or else of the machine.")
        used = _node_gauge("memory_used_bytes", "How much of it is in use, by whatever process.")
        held = _node_gauge(
            "model_resident_bytes", "Device memory that a loaded model took.", "model"
        )
        info = _node_gauge("info", "Always 1; what the worker is.", *_INFO, *_VERSIONS)
        for node in known:
            up.add_metric((node.name,), node.is_live)
            if not node.is_live:
                continue
            busy.add_metric((node.name,), node.job_id is not None)
            memory.add_metric((node.name,), node.memory_bytes)
            used.add_metric((node.name,), node.memory_used_bytes)
            for model, size in node.models.items():
                held.add_metric((node.name, model), size.bytes)
            versions = [node.versions.get(name, "") for name in _VERSIONS]
            info.add_metric((node.name, node.host, node.device, node.gpu or "", *versions), 1)
        return [up, busy, memory, used, held, info]


class _VitalGauges(Collector):
    """What tells that something stands still: canaries, webhooks, audits."""

    def __init__(self, db: Database, catalog: Catalog) -> None:
        self._db = db
        self._queues = catalog.queues

    def collect(self) -> Iterable[Metric]:
        try:
            found = canaries.look(self._db, self._queues)
            webhooks = vitals.webhooks(self._db)
            audit = vitals.last_audit(self._db)
        except DatabaseUnavailable:  # farm_database_up says it
            return
        ready = GaugeMetricFamily(
            "farm_queue_ready",
            "1 when a job that is queued now would be taken, or waits behind another one.",
            labels=("queue",),
        )
        age = GaugeMetricFamily(
            "farm_canary_age_seconds",
            "How long ago a canary last came out of a queue; no series where none ever did.",
            labels=("queue",),
        )
        for queue, state in found.queues.items():
            ready.add_metric((queue,), state.is_ready)
            if state.answered_s is not None:
                age.add_metric((queue,), max(0.0, state.answered_s))
        yield from (ready, age)
        if found.sent_s is not None:
            says = (
                "How long ago control last sent a canary; it rises while beat or control is away."
            )
            yield GaugeMetricFamily("farm_canary_sent_age_seconds", says, max(0.0, found.sent_s))
        for name, says, value in (
            ("scheduled", "Webhooks that are to be sent, now or later.", webhooks.scheduled),
            ("overdue", "Webhooks that should have been sent a minute ago.", webhooks.overdue),
            ("overdue_seconds", "For how long the oldest of those is due.", webhooks.overdue_s),
            ("troubled_targets", "Receivers whose last tries failed.", webhooks.troubled),
        ):
            yield GaugeMetricFamily(f"farm_webhooks_{name}", says, value)
        if audit is not None:
            says = "How long ago the books were last checked."
            yield GaugeMetricFamily("farm_audit_age_seconds", says, audit.seconds_ago)
            says = "Invariants that did not hold then."
            yield GaugeMetricFamily("farm_audit_broken", says, len(audit.broken))


_INFO = ("host", "device", "gpu")
_VERSIONS = ("farm", "python", "torch", "diffusers", "driver", "cuda")


def _node_gauge(name: str, says: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"farm_node_{name}", says, labels=("node", *labels))


def clear_dead_counts(folder: Path) -> None:
    """Bound what ended processes leave behind: past a number, their files are removed."""
    files = [(path, path.stem.rpartition("_")[2]) for path in folder.glob("*.db")]
    if len(files) <= _FILES_MAX:
        return
    for path, pid in files:
        if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
            path.unlink(missing_ok=True)
