"""``farm queues`` and ``farm nodes``: what waits, and who works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from celery import Celery

from farm.broker import make_celery, mapped_failures, messages_waiting
from farm.cli.common import data_option, json_option, opened, show_rows
from farm.jobs import depths, oldest_wait
from farm.nodes import Node, known_nodes
from farm.types import JobState

ANSWER_S = 2.0


@click.command()
@json_option
@data_option
def queues(as_json: bool, data: Path | None) -> None:
    """Show each queue: jobs queued and running, the longest wait, its workers.

    Jobs are counted in the database; `rings` are the messages the broker holds: one for each of
    them, which the sweeper sends again where it is missing, and perhaps a canary.
    """
    with opened(data) as services:
        counts = depths(services.db)
        names = [*services.catalog.queues]
        waits = oldest_wait(services.db, names)
        app = make_celery(services.settings, services.catalog)
    rings = messages_waiting(app)
    serving = workers_by_queue(app)
    rows = [
        {
            "queue": name,
            "queued": counts.get((name, JobState.QUEUED), 0),
            "running": counts.get((name, JobState.RUNNING), 0),
            "oldest_wait_s": round(waits.get(name, 0.0), 1),
            "rings": rings.get(name, 0),
            "workers": len(serving.get(name, ())),
        }
        for name in names + [name for name in rings if name not in names]
    ]
    columns = ("queue", "queued", "running", "oldest_wait_s", "rings", "workers")
    show_rows(rows, columns, as_json=as_json, empty="There are no queues.")


@click.command()
@json_option
@data_option
def nodes(as_json: bool, data: Path | None) -> None:
    """Show each worker: its GPU, the models it holds, the job it runs.

    They report it themselves, so this answers without the broker. A worker that was silent for
    a minute is shown as silent, and forgotten after an hour.
    """
    with opened(data) as services:
        found = known_nodes(services.db)
        everything = services.catalog.queues
    if as_json:
        rows = [_exact(node) for node in found]
    else:
        rows = [_shown(node, everything) for node in found]
    columns = ("node", "host", "gpu", "memory", "holds", "queues", "job", "up", "seen")
    whole = ("node", "memory", "job", "up", "seen")
    show_rows(rows, columns, as_json=as_json, empty="No worker has reported.", whole=whole)


def _exact(node: Node) -> dict[str, Any]:
    row = asdict(node)
    return {"node": row.pop("name"), "live": node.is_live, **row}


def _shown(node: Node, everything: Sequence[str]) -> dict[str, str]:
    """A row that fits a terminal; all of it, and exactly, is in the JSON."""
    held = [f"{name} {_size(model.bytes)}" for name, model in node.models.items()]
    queues = [name.removeprefix("gpu.") for name in node.queues]
    if set(node.queues) >= set(everything):
        queues = ["all models"]
    progress = f" {node.step}/{node.steps}" if node.steps else ""
    return {
        "node": node.name.partition("@")[0],
        "host": node.host,
        "gpu": (node.gpu or "-").removeprefix("NVIDIA "),
        "memory": f"{_size(node.memory_used_bytes)}/{_size(node.memory_bytes)}",
        "holds": ", ".join(held) or "-",
        "queues": ", ".join(queues) or "-",
        "job": f"{str(node.job_id)[:8]}{progress}" if node.job_id else "-",
        "up": _age(node.up_s),
        "seen": _age(node.silent_s) if node.is_live else f"silent {_age(node.silent_s)}",
    }


def _size(number: int) -> str:
    """Bytes as a terminal has room for: ``820M``, ``6.9G``, ``141G``."""
    if number < 2**30:
        return f"{number / 2**20:.0f}M"
    size = number / 2**30
    return f"{size:.0f}G" if size >= 99.95 else f"{size:.1f}G"


def _age(seconds: float) -> str:
    """Seconds in the unit that tells most: ``7s``, ``12min``, ``3h``, ``5d``."""
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f}{unit}"
    return f"{seconds:.0f}s"


def active_queues(app: Celery) -> Mapping[str, Any]:
    """What each worker that answers serves. Raises BrokerUnavailable."""
    return _ask(app, "active_queues")


def workers_by_queue(app: Celery) -> dict[str, list[str]]:
    """The workers of each queue. Raises BrokerUnavailable."""
    serving: dict[str, list[str]] = {}
    for node, found in active_queues(app).items():
        for queue in found:
            serving.setdefault(queue["name"], []).append(node)
    return serving


def _ask(app: Celery, question: str, nodes: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Ask every worker, waiting out the time; or just these, until the last has answered."""
    if nodes is not None and not nodes:
        return {}
    with app.connection_for_write() as connection, mapped_failures(connection):
        connection.ensure_connection(max_retries=1, timeout=ANSWER_S)
        inspect = app.control.inspect(
            destination=nodes,
            timeout=ANSWER_S,
            limit=len(nodes) if nodes else None,
            connection=connection,
        )
        return getattr(inspect, question)() or {}
