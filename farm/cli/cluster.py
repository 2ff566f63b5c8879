"""``farm queues`` and ``farm nodes``: what waits, and who works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from celery import Celery

from farm.broker import make_celery, mapped_failures, messages_waiting
from farm.cli.common import data_option, json_option, opened, show_rows
from farm.jobs import depths, oldest_wait
from farm.types import JobState

ANSWER_S = 2.0


@click.command()
@json_option
@data_option
def queues(as_json: bool, data: Path | None) -> None:
    """Show each queue: jobs queued and running, the longest wait, its workers.

    Jobs are counted in the database; `rings` are the messages the broker holds for them, and
    a missing one is rung again by the sweeper.
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
    """List the workers that answer within two seconds."""
    with opened(data) as services:
        app = make_celery(services.settings, services.catalog)
    serving = active_queues(app)
    stats = _ask(app, "stats", list(serving))
    active = _ask(app, "active", list(serving))
    rows = [
        {
            "node": node,
            "pid": stats.get(node, {}).get("pid"),
            "up_s": stats.get(node, {}).get("uptime"),
            "queues": sorted(queue["name"] for queue in found),
            "running": [task["id"] for task in active.get(node, [])],
        }
        for node, found in sorted(serving.items())
    ]
    columns = ("node", "pid", "up_s", "queues", "running")
    show_rows(rows, columns, as_json=as_json, empty="No worker answers.")


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
