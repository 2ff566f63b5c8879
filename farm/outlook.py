"""When a job will be done: its place in the queue, and the work ahead of it.

The farm is played forward from how it stands now: each worker that reported itself finishes
what it runs, then takes jobs in the order in which the queues give them out, by priority and
turn, each for as long as its like took here before (the median of the last fifty of the same
model and shape, from claim to settlement). Jobs that will come meanwhile, and go before because
a worker stays with its loaded model, because their plan is a larger one or because it is their
account's turn, come as often as they lately did, from the same accounts. Where anything that a
job waits for is not known, its time is not known either and is left out; nothing is guessed.
"""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from farm.broker import PRIORITY_STEPS
from farm.db import Database
from farm.recent_sql import KNOWN_MODELS

PLAYED_MAX = 1000
"""So many queued jobs are played forward; those behind have a place and no time."""
QUEUED_MAX = 2000
"""So many of each queue's jobs are looked at, those that are next; those behind are told nothing
yet."""
SEEN_WITHIN_S = 60.0
MEASURED_JOBS = 50
LATELY_S = 60.0
"""How far back is looked to tell how often jobs come."""
_LOOK_AHEAD = 4
"""Expected jobs are played for so many times as long as those that are there would take alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a live job stands: ``position`` is 1 for the next of its queue and None once it
    runs, ``eta_s`` the seconds until it is done; None where that is not known."""

    position: int | None
    eta_s: float | None

    def told(self) -> dict[str, Any]:
        """As every storefront shows it: what is not known is left out."""
        said: dict[str, Any] = {}
        if self.position is not None:
            said["queue_position"] = self.position
        if self.eta_s is not None:
            said["eta_seconds"] = round(self.eta_s, 1)
        return said


@dataclass(frozen=True, slots=True)
class Queued:
    """A queued job: ``seconds`` is how long its like took, None where none has run yet. One that
    has not come yet has waited less than no time, and no turn of its own."""

    id: uuid.UUID
    queue: str
    priority: int
    waited_s: float
    model: str
    seconds: float | None
    turn: int = 0
    account: uuid.UUID | None = None

    @property
    def line(self) -> Line:
        """Where its turn counts."""
        return self.queue, self.priority


Line = tuple[str, int]
"""A queue and a priority."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running job, ``for_s`` seconds after it was claimed by ``worker``."""

    id: uuid.UUID
    queue: str
    worker: str
    for_s: float
    seconds: float | None

    @property
    def left_s(self) -> float | None:
        """Seconds until it should be done; unknown once it takes longer than its like."""
        if self.seconds is None or self.for_s > self.seconds:
            return None
        return self.seconds - self.for_s


@dataclass(frozen=True, slots=True)
class Stream:
    """Jobs that come again and again: one like ``job`` every ``every_s`` seconds, from these
    accounts one after another."""

    job: Queued
    every_s: float
    accounts: Sequence[uuid.UUID] = ()


@dataclass(slots=True)
class Worker:
    """A worker that is played forward: which queues it serves, which models it holds, and how
    long each model took to load, where that was measured."""

    name: str
    queues: Sequence[str]
    held: set[str]
    load_s: Mapping[str, float] = field(default_factory=dict)
    last_queue: str = ""
    free_s: float | None = 0.0


def outlook(
    queued: Iterable[Queued],
    running: Iterable[Running],
    workers: Sequence[Worker],
    switch_after_s: float,
    streams: Sequence[Stream] = (),
    begins: Mapping[Line, int] | None = None,
) -> dict[uuid.UUID, Place]:
    """The place of every live job, by id. Pure.

    Args:
        streams: what is to be expected meanwhile.
        workers: those that live; they are used up by the playing.
        switch_after_s: how long a worker stays with the queue of its loaded model while other
            queues wait (see ``tasks.affinity``).
        begins: the turn that each line has come to.
    """
    places: dict[uuid.UUID, Place] = {}
    by_name = {worker.name: worker for worker in workers}
    for job in running:
        places[job.id] = Place(None, job.left_s)
        worker = by_name.get(job.worker)
        if worker is not None:
            # One that is overdue may end any moment; what waits for it knows no better.
            worker.free_s = job.left_s if job.seconds is not None else None
            if job.seconds is not None and job.left_s is None:
                worker.free_s = 0.0
            worker.last_queue = job.queue
    lines: dict[str, list[Queued]] = {}
    for waiting in queued:
        lines.setdefault(waiting.queue, []).append(waiting)
    for line in lines.values():
        line.sort(key=lambda job: (job.priority, job.turn, -job.waited_s))
        for position, waiting in enumerate(line, 1):
            places[waiting.id] = Place(position, None)
    ahead = [job for line in lines.values() for job in line]
    played = _Lines(ahead, _expected(ahead, streams), begins or {})
    for job_id, eta_s in _played(played, workers, switch_after_s):
        places[job_id] = Place(places[job_id].position, eta_s)
    return places


def _expected(ahead: Sequence[Queued], streams: Sequence[Stream]) -> list[Queued]:
    """What will come before the jobs that are there are done, evenly spread, soonest first."""
    until_s = _LOOK_AHEAD * sum(job.seconds or 0.0 for job in ahead)
    coming = []
    for stream in streams:
        number = min(int(until_s / stream.every_s), PLAYED_MAX)
        accounts = itertools.cycle(stream.accounts or (None,))
        coming += [
            replace(stream.job, waited_s=-(n + 0.5) * stream.every_s, account=next(accounts))
            for n in range(number)
        ]
    return sorted(coming, key=lambda job: -job.waited_s)[:PLAYED_MAX]


def _played(
    lines: _Lines, workers: Sequence[Worker], switch_after_s: float
) -> Iterable[tuple[uuid.UUID, float]]:
    """Each job with the second at which it will be done, as far as that is known. Jobs that are
    expected are played and not told of."""
    free = [(w.free_s, index) for index, w in enumerate(workers) if w.free_s is not None]
    heapq.heapify(free)
    served: dict[int, dict[str, float]] = {index: {} for _, index in free}
    for _ in range(2 * PLAYED_MAX):
        if not free or not lines.left:
            return
        now, index = heapq.heappop(free)
        worker = workers[index]
        lines.come(now)
        waiting = lines.heads(worker.queues)
        if not waiting:
            continue
        job = min(
            waiting, key=lambda job: _urgency(job, worker, now, served[index], switch_after_s)
        )
        is_real = lines.take(job.queue)
        if job.seconds is None:
            continue  # nobody knows when this worker will be free again
        load_s = 0.0 if job.model in worker.held else worker.load_s.get(job.model, 0.0)
        worker.held.add(job.model)
        worker.last_queue = job.queue
        done = now + load_s + job.seconds
        served[index][job.queue] = now
        if is_real:
            yield job.id, done
        heapq.heappush(free, (done, index))


class _Lines:
    """The queues while they are played: who waits, and who will have come by when.

    Args:
        ahead: the jobs that are there.
        coming: those that are expected, soonest first.
        begins: the turn that each line has come to.
    """

    def __init__(
        self, ahead: Sequence[Queued], coming: Sequence[Queued], begins: Mapping[Line, int]
    ) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[str, list[tuple[int, int, float, int, bool, Queued]]] = {}
        self._coming = deque(coming)
        self._begins = dict(begins)
        self._last: dict[tuple[uuid.UUID | None, str], int] = {}
        """The turn of each account's last job in a queue."""
        self.left = len(ahead)
        """How many jobs that are there wait still."""
        for job in ahead:
            self._join(job, is_real=True)

    def come(self, now: float) -> None:
        """Let those in who have come by this second."""
        while self._coming and -self._coming[0].waited_s <= now:
            job = self._coming.popleft()
            begins = self._begins.get(job.line, 0)
            last = self._last.get((job.account, job.queue), begins - 1)
            self._join(replace(job, turn=max(begins, last + 1)), is_real=False)

    def heads(self, queues: Iterable[str]) -> list[Queued]:
        """The first of each of these queues that has one."""
        return [self._waiting[q][0][-1] for q in queues if self._waiting.get(q)]

    def take(self, queue: str) -> bool:
        """Remove the first of a queue. True: it was one that is there."""
        *_, is_real, job = heapq.heappop(self._waiting[queue])
        self.left -= is_real
        self._begins[job.line] = max(job.turn, self._begins.get(job.line, 0))
        return is_real

    def _join(self, job: Queued, *, is_real: bool) -> None:
        who = (job.account, job.queue)
        self._last[who] = max(job.turn, self._last.get(who, 0))
        entry = (job.priority, job.turn, -job.waited_s, next(self._numbers), is_real, job)
        heapq.heappush(self._waiting.setdefault(job.queue, []), entry)


def _urgency(
    job: Queued, worker: Worker, now: float, served: Mapping[str, float], switch_after_s: float
) -> tuple[float, ...]:
    """How early this head of a queue comes: priorities first, then what waited too long, then
    the queue whose model is loaded, then the others by age."""
    unserved_s = now - served.get(job.queue, -job.waited_s)
    overdue = job.queue != worker.last_queue and unserved_s >= switch_after_s
    loaded = job.queue == worker.last_queue
    return (_step(job.priority), not overdue, not loaded, -job.waited_s)


def _step(priority: int) -> int:
    """The priorities that the broker keeps apart."""
    return max(step for step in PRIORITY_STEPS if step <= priority)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The places of the jobs that were live at one moment of the database's clock."""

    as_of: datetime
    places: Mapping[uuid.UUID, Place]


def load_outlook(db: Database, queues: Sequence[str], switch_after_s: float) -> Snapshot:
    """The place of the live jobs of these queues now. Raises DatabaseUnavailable."""

    def work(connection: Connection) -> Snapshot:
        values = {"limit": QUEUED_MAX, "queues": list(queues), "seen_s": SEEN_WITHIN_S}
        waiting = connection.execute(_QUEUED, values).all()
        at_work = connection.execute(_RUNNING).all()
        kinds = sorted({(row.model, row.shape) for row in (*waiting, *at_work)})
        measured = {
            "models": [model for model, _ in kinds],
            "shapes": [shape for _, shape in kinds],
            "jobs": MEASURED_JOBS,
        }
        seconds = {
            (row.model, row.shape): row.seconds for row in connection.execute(_MEASURED, measured)
        }
        queued = [
            Queued(
                row.id,
                row.queue,
                row.priority,
                float(row.waited_s),
                row.model,
                seconds.get((row.model, row.shape)),
                row.turn,
                row.account_id,
            )
            for row in waiting
        ]
        running = [
            Running(
                row.id, row.queue, row.worker, float(row.for_s), seconds.get((row.model, row.shape))
            )
            for row in at_work
        ]
        workers = [
            Worker(
                row.name,
                row.queues,
                set(row.models),
                {model: held["load_s"] for model, held in row.models.items() if "load_s" in held},
            )
            for row in connection.execute(_WORKERS, values)
        ]
        streams = [
            Stream(
                Queued(
                    uuid.UUID(int=0), row.queue, row.priority, 0.0, row.model, float(row.seconds)
                ),
                LATELY_S / row.jobs,
                row.accounts,
            )
            for row in connection.execute(_LATELY, values | {"lately_s": LATELY_S})
        ]
        begins = {(row.queue, row.priority): row.turn for row in connection.execute(_BEGINS)}
        as_of = connection.execute(_NOW).scalar_one()
        return Snapshot(as_of, outlook(queued, running, workers, switch_after_s, streams, begins))

    return db.attempt(work)


# When the transaction began: whatever was there by then was looked at.
_NOW = text("SELECT now()")
_QUEUED = text(
    """
    SELECT line.* FROM unnest(CAST(:queues AS text[])) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT id, queue, priority, turn, account_id, model, shape,
            extract(epoch FROM statement_timestamp() - queued_at) AS waited_s
        FROM jobs WHERE state = 'queued' AND jobs.queue = q.queue AND ready
        ORDER BY priority, turn, queued_at LIMIT :limit
    ) AS line
    """
)
_RUNNING = text(
    """
    SELECT id, queue, worker, model, shape,
        extract(epoch FROM clock_timestamp() - started_at) AS for_s
    FROM jobs WHERE state = 'running'
    """
)
_BEGINS = text("SELECT queue, priority, turn FROM lines")
_WORKERS = text(
    """
    SELECT name, queues, models FROM nodes
    WHERE seen_at > now() - :seen_s * interval '1 second' ORDER BY name
    """
)
# Of jobs of another shape the model's own median would say nothing.
_MEASURED = text(
    """
    SELECT live.model, live.shape, (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY last.seconds) FROM (
            SELECT extract(epoch FROM finished_at - started_at) AS seconds FROM jobs
            WHERE state = 'succeeded' AND model = live.model AND shape = live.shape
            ORDER BY finished_at DESC LIMIT :jobs
        ) AS last
    ) AS seconds
    FROM unnest(CAST(:models AS text[]), CAST(:shapes AS text[])) AS live (model, shape)
    """
)
# As many will come as lately ended. One look into the index for each model.
_LATELY = text(
    KNOWN_MODELS
    + """
    SELECT ended.queue, ended.priority, known.model, count(*) AS jobs,
        array_agg(ended.account_id ORDER BY ended.finished_at) AS accounts,
        avg(extract(epoch FROM ended.finished_at - ended.started_at)) AS seconds
    FROM known JOIN jobs AS ended ON ended.model = known.model AND ended.state = 'succeeded'
        AND ended.finished_at > now() - :lately_s * interval '1 second'
    GROUP BY ended.queue, ended.priority, known.model
    """
)
