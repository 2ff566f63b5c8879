"""Canaries: small messages that go the way of a job, to see whether somebody takes them.

The control worker sends one down each queue every twenty seconds, before all jobs; the worker
that takes it writes so into the database. So a row that is fresh says that broker, worker and
database do what a job needs of them. Of a queue whose canary is still under way nothing more is
sent, so that the queue of an absent worker does not fill.

That they are sent at all says that beat and the control worker do their part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from farm.db import Database
from farm.messages import CONTROL_QUEUE, INTAKE_QUEUE, WEBHOOKS_QUEUE
from farm.nodes import LIVE_WITHIN_S

EVERY_S = 20.0
BACK_WITHIN_S = 60.0
"""A queue whose last canary came out longer ago than this is served by nobody: two were missed."""
CONTROL_QUEUES = (CONTROL_QUEUE, INTAKE_QUEUE, WEBHOOKS_QUEUE)
_OVERTAKEN_S = 10.0


@dataclass(frozen=True, slots=True)
class QueueState:
    """What is known of one queue. Seconds are ago; None: never.

    ``serving`` are the live workers that say they serve it, ``busy`` those of them that run a
    job right now: a canary waits behind it.
    """

    queue: str
    sent_s: float | None
    answered_s: float | None
    answered_by: str | None
    serving: tuple[str, ...]
    busy: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether a job that is rung for now would be taken, or waits behind another one."""
        return bool(self.busy) or self._is_back

    @property
    def _is_back(self) -> bool:
        return self.answered_s is not None and self.answered_s <= BACK_WITHIN_S

    @property
    def is_under_way(self) -> bool:
        """Whether the last canary that was sent has not come back."""
        if self.sent_s is None:
            return False
        return self.answered_s is None or self.answered_s > self.sent_s

    @property
    def why_not(self) -> str | None:
        """What is wrong and what to type; None where it is ready."""
        if self.is_ready:
            return None
        if self.serving:
            last = "none has come back yet" if self.answered_s is None else _last(self.answered_s)
            names = ", ".join(self.serving)
            return (
                f"{names} should serve it and took no canary: {last}. It has just started, or "
                "it is deaf: then it ends itself after FARM_DEAF_AFTER_S, or kill it."
            )
        last = "no canary has come back" if self.answered_s is None else _last(self.answered_s)
        return f"no worker serves it ({last}): start `{serving_command(self.queue)}`."


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is known of every queue, by name; ``sent_s`` is when the last canary was sent."""

    queues: Mapping[str, QueueState]
    sent_s: float | None

    @property
    def control(self) -> str:
        """``ok``, or what is wrong with beat and the control worker and what to type."""
        if self.sent_s is None:
            return "no canary was sent yet: start `farm control` and `farm beat`."
        if self.sent_s > BACK_WITHIN_S:
            return (
                f"no canary was sent for {self.sent_s:.0f} s: beat or control is not running. "
                "Start `farm control` and `farm beat`."
            )
        for queue in CONTROL_QUEUES:
            state = self.queues.get(queue)
            if state is not None and (why := state.why_not):
                return f"queue {queue}: {why}"
        return "ok"


def serving_command(queue: str) -> str:
    """What starts a worker for this queue."""
    return "farm control" if queue in CONTROL_QUEUES else f"farm worker --queues {queue}"


def look(db: Database, queues: Sequence[str]) -> Readiness:
    """What is known of these queues and of control's own. Raises DatabaseUnavailable."""
    names = list(dict.fromkeys((*queues, *CONTROL_QUEUES)))
    values = {"queues": names, "live_s": LIVE_WITHIN_S}
    rows = db.attempt(lambda connection: connection.execute(_LOOK, values).all())
    states = {
        row.queue: QueueState(
            row.queue,
            row.sent_s,
            row.answered_s,
            row.answered_by,
            tuple(row.serving or ()),
            tuple(row.busy or ()),
        )
        for row in rows
    }
    sent = [state.sent_s for state in states.values() if state.sent_s is not None]
    return Readiness(states, min(sent, default=None))


@contextlib.contextmanager
def due(db: Database, queues: Sequence[str], empty: Sequence[str]) -> Iterator[list[str]]:
    """Into which of these queues a canary is to be sent, inside the block.

    One is due where the last one came back, or is lost: its queue is ``empty`` at the broker, or
    a job was started from the queue since, which the canary went before. They count as sent
    unless the block raises; meanwhile other senders wait, and answers too.

    Raises:
        DatabaseUnavailable: nothing was noted.
    """
    values = {
        "queues": list(queues),
        "empty": list(empty),
        # Another sender may have been a moment ago.
        "least_s": EVERY_S / 2,
        "overtaken_s": _OVERTAKEN_S,
    }
    with db.transaction() as connection:
        yield list(connection.execute(_DUE, values).scalars())


def answer(db: Database, queue: str, worker: str) -> None:
    """A canary came out of this queue at this worker. Raises DatabaseUnavailable."""
    values = {"queue": queue, "worker": worker}
    db.attempt(lambda connection: connection.execute(_ANSWER, values))


def longest_wait(db: Database, queues: Sequence[str]) -> dict[str, float]:
    """Seconds that something has waited to be taken from each queue: a job, or a canary that is
    under way; in control's, the wish of beat for canaries. Queues where nothing waits are left out.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    values = {"queues": list(queues), "intake": INTAKE_QUEUE, "control": CONTROL_QUEUE}
    rows = db.attempt(lambda connection: connection.execute(_WAITS, values).all())
    return {row.queue: row.seconds for row in rows if row.seconds is not None}


def _last(answered_s: float) -> str:
    return f"the last canary came back {answered_s:.0f} s ago"


_LOOK = text(
    """
    SELECT q.queue, c.answered_by,
        extract(epoch FROM now() - c.sent_at)::float8 AS sent_s,
        extract(epoch FROM now() - c.answered_at)::float8 AS answered_s,
        n.serving, n.busy
    FROM unnest(CAST(:queues AS text[])) AS q (queue)
    LEFT JOIN canaries c ON c.queue = q.queue
    CROSS JOIN LATERAL (
        SELECT array_agg(name ORDER BY name) AS serving,
            array_agg(name ORDER BY name) FILTER (WHERE job_id IS NOT NULL) AS busy
        FROM nodes
        WHERE q.queue = ANY (queues) AND seen_at >= now() - :live_s * interval '1 second'
    ) AS n
    """
)
_DUE = text(
    """
    INSERT INTO canaries (queue, sent_at)
    SELECT queue, now() FROM unnest(CAST(:queues AS text[])) AS q (queue) ORDER BY queue
    ON CONFLICT (queue) DO UPDATE SET sent_at = excluded.sent_at
    WHERE canaries.sent_at IS NULL
       OR canaries.sent_at < now() - :least_s * interval '1 second'
      AND (canaries.answered_at >= canaries.sent_at
           OR canaries.queue = ANY (CAST(:empty AS text[]))
           OR EXISTS (SELECT FROM nodes WHERE canaries.queue = ANY (nodes.queues)
                      AND job_started_at > canaries.sent_at + :overtaken_s * interval '1 second'))
    RETURNING queue
    """
)
_ANSWER = text(
    """
    INSERT INTO canaries (queue, answered_at, answered_by) VALUES (:queue, now(), :worker)
    ON CONFLICT (queue) DO UPDATE
    SET answered_at = excluded.answered_at, answered_by = excluded.answered_by
    """
)
_WAITS = text(
    """
    SELECT q.queue, greatest(
        (SELECT extract(epoch FROM now() - sent_at) FROM canaries
         WHERE canaries.queue = q.queue AND (answered_at IS NULL OR answered_at < sent_at)),
        (SELECT extract(epoch FROM now() - min(queued_at)) FROM jobs
         WHERE state = 'queued' AND ready AND jobs.queue = q.queue),
        (SELECT extract(epoch FROM now() - min(queued_at)) FROM jobs
         WHERE state = 'queued' AND NOT ready AND q.queue = :intake),
        (SELECT extract(epoch FROM now() - max(sent_at)) FROM canaries WHERE q.queue = :control)
    )::float8 AS seconds
    FROM unnest(CAST(:queues AS text[])) AS q (queue)
    """
)
