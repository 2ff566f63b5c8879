"""The farm's nodes: what each worker last told of itself, and which of them are alive.

A node is one worker, by the name that Celery gives it; its process id is part of the name, so a
worker that starts again is another node. A node that says nothing for a minute counts as gone,
however it ended. All clocks are the database's: a worker says how long ago something was.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from farm.crash_points import Effect, around
from farm.db import Database

LIVE_WITHIN_S = 60.0
FORGET_AFTER_S = 3600.0
"""A silent node is shown this long, so that an operator who looks for it finds it."""


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A loaded model: the device memory that it took, and how long its load took."""

    bytes: int
    load_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells of itself.

    ``device`` is ``cuda:<n>`` or ``cpu``, ``gpu`` the GPU's name or None. The memory is that of
    the GPU, or else of the machine, with everything in it; 0 where the driver does not say.
    ``up_s`` and ``job_s`` are how long the worker and its job have been running.
    """

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    device: str
    gpu: str | None
    memory_bytes: int
    memory_used_bytes: int
    up_s: float
    models: Mapping[str, HeldModel] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    job_id: uuid.UUID | None = None
    job_s: float = 0.0
    step: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it was last heard of, ``silent_s`` ago. What its fields mean is in Report."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    device: str
    gpu: str | None
    memory_bytes: int
    memory_used_bytes: int
    models: Mapping[str, HeldModel]
    versions: Mapping[str, str]
    job_id: uuid.UUID | None
    step: int
    steps: int
    job_started_at: datetime | None
    started_at: datetime
    seen_at: datetime
    up_s: float
    silent_s: float

    @property
    def is_live(self) -> bool:
        """Whether it was heard of within the last minute."""
        return self.silent_s <= LIVE_WITHIN_S


def report(db: Database, node: Report) -> None:
    """Write down what a worker tells of itself; what it told before is forgotten.

    Raises:
        DatabaseUnavailable: nothing was written, or the next report overwrites it.
        SetupError: the database has another version's schema.
    """
    values = asdict(node) | {
        "queues": list(node.queues),
        "models": json.dumps({name: asdict(held) for name, held in node.models.items()}),
        "versions": json.dumps(dict(node.versions)),
    }
    with around(Effect.NODE_REPORT):
        db.attempt(lambda connection: connection.execute(_REPORT, values))


def remove(db: Database, name: str) -> None:
    """Forget a node that ends in an orderly way. Raises DatabaseUnavailable."""
    with around(Effect.NODE_REMOVE):
        db.attempt(lambda connection: connection.execute(_REMOVE, {"name": name}))


def known_nodes(db: Database) -> list[Node]:
    """Every node that is not forgotten yet, by name. Raises DatabaseUnavailable."""
    return _nodes(db, FORGET_AFTER_S)


def live_nodes(db: Database, within_s: float = LIVE_WITHIN_S) -> list[Node]:
    """The nodes heard of within these seconds, by name. Raises DatabaseUnavailable."""
    return _nodes(db, within_s)


def forget_silent(db: Database, older_than_s: float = FORGET_AFTER_S) -> int:
    """Forget the nodes that were silent for longer; how many. Raises DatabaseUnavailable."""
    with around(Effect.NODE_FORGET):
        return db.attempt(
            lambda connection: connection.execute(_FORGET, {"seconds": older_than_s}).rowcount
        )


def _nodes(db: Database, within_s: float) -> list[Node]:
    rows = db.attempt(lambda connection: connection.execute(_SEEN, {"seconds": within_s}).all())
    return [_node(dict(row._mapping)) for row in rows]


def _node(row: dict[str, Any]) -> Node:
    models = {name: HeldModel(**held) for name, held in row.pop("models").items()}
    return Node(queues=tuple(row.pop("queues")), models=models, **row)


_REPORT = text(
    """
    INSERT INTO nodes (name, host, pid, queues, device, gpu, memory_bytes,
        memory_used_bytes, models, versions, job_id, step, steps, job_started_at, started_at,
        seen_at)
    VALUES (:name, :host, :pid, CAST(:queues AS text[]), :device, :gpu, :memory_bytes,
        :memory_used_bytes, CAST(:models AS jsonb), CAST(:versions AS jsonb), :job_id, :step,
        :steps,
        CASE WHEN CAST(:job_id AS uuid) IS NOT NULL
            THEN now() - :job_s * interval '1 second' END,
        now() - :up_s * interval '1 second', now())
    ON CONFLICT (name) DO UPDATE SET host = excluded.host, pid = excluded.pid,
        queues = excluded.queues, device = excluded.device, gpu = excluded.gpu,
        memory_bytes = excluded.memory_bytes, memory_used_bytes = excluded.memory_used_bytes,
        models = excluded.models, versions = excluded.versions, job_id = excluded.job_id,
        step = excluded.step, steps = excluded.steps,
        job_started_at = excluded.job_started_at, started_at = excluded.started_at,
        seen_at = excluded.seen_at
    """
)
_REMOVE = text("DELETE FROM nodes WHERE name = :name")
_SEEN = text(
    """
    SELECT name, host, pid, queues, device, gpu, memory_bytes, memory_used_bytes, models,
        versions, job_id, step, steps, job_started_at, started_at, seen_at,
        extract(epoch FROM now() - started_at)::float8 AS up_s,
        greatest(extract(epoch FROM now() - seen_at), 0)::float8 AS silent_s
    FROM nodes WHERE seen_at >= now() - :seconds * interval '1 second' ORDER BY name
    """
)
_FORGET = text("DELETE FROM nodes WHERE seen_at < now() - :seconds * interval '1 second'")
