"""Which processes pass which crash points, and the step that leads each of them there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from farm.crash_points import ANSWER, FILE_RENAME, RUN_MID, Effect
from tests.faults.crashes import in_api as api
from tests.faults.crashes import in_control as control
from tests.faults.crashes import in_webhooks as webhooks
from tests.faults.crashes import in_worker as worker
from tests.faults.crashes.lane import Bomb, Lane
from tests.faults.trial.points import Victim

Step = Callable[[Lane, Bomb], None]

PASSED_BY: Mapping[str, Mapping[Effect | str, tuple[Step, ...]]] = {
    "api": {
        Effect.SUBMIT: (api.with_a_key, api.without_a_key, api.of_a_file),
        Effect.BATCH: (api.of_a_batch,),
        Effect.REFUSAL: (api.of_refused_words,),
        Effect.INPUT: (api.of_a_file,),
        FILE_RENAME: (api.of_a_file,),
        Effect.DISPATCH: (api.with_a_key,),
        ANSWER: (api.with_a_key, api.of_a_batch),
        Effect.CANCEL: (api.of_a_cancel,),
        Effect.ANNOUNCE: (api.of_a_cancel,),
        Effect.WEBHOOK_SECRET: (api.of_a_secret,),
    },
    "worker": {
        Effect.CLAIM: (worker.of_a_job,),
        Effect.ANNOUNCE: (worker.of_a_job,),
        Effect.RENEW_LEASE: (worker.of_a_job,),
        RUN_MID: (worker.of_a_job,),
        Effect.OUTPUT: (worker.of_a_job,),
        FILE_RENAME: (worker.of_a_job,),
        Effect.SETTLE: (worker.of_a_job,),
        Effect.NODE_REPORT: (worker.of_a_job,),
        Effect.FAIL: (worker.of_a_break, worker.of_a_wrong_request),
        Effect.DISPATCH: (worker.of_a_break,),
        Effect.BLOCK: (worker.of_a_refusal,),
        Effect.FREED: (worker.of_a_cancel,),
        Effect.HAND_BACK: (worker.of_a_drain,),
        Effect.LEAVE: (worker.of_a_late_message,),
        Effect.CANARY_ANSWER: (worker.of_a_canary,),
        Effect.NODE_REMOVE: (worker.of_an_end,),
    },
    "control": {
        Effect.SWEEP: (control.of_a_lost_message,),
        Effect.DISPATCH: (control.of_a_lost_message, control.of_a_dead_worker),
        Effect.REAP: (control.of_a_dead_worker, control.of_a_poison),
        Effect.EXPIRE: (control.of_a_late_job,),
        Effect.ANNOUNCE: (control.of_a_late_job,),
        Effect.NODE_REPORT: (control.of_time,),
        Effect.FETCH_BEGIN: (control.of_a_url,),
        Effect.INPUT: (control.of_a_url,),
        FILE_RENAME: (control.of_a_url,),
        Effect.FETCH_FINISH: (control.of_a_url,),
        Effect.FETCH_REFUSE: (control.of_a_wrong_url,),
        Effect.OUTPUT_DELETE: (control.of_an_old_output,),
        Effect.OUTPUT_MARK: (control.of_an_old_output,),
        Effect.INPUT_DELETE: (control.of_a_spent_input,),
        Effect.INPUT_MARK: (control.of_a_spent_input,),
        Effect.ORPHAN_DELETE: (control.of_an_orphan,),
        Effect.KEY_FORGET: (control.of_an_old_key,),
        Effect.NODE_FORGET: (control.of_a_silent_node,),
        Effect.MONTH: (control.of_a_month,),
        Effect.AUDIT: (control.of_an_audit,),
        Effect.CANARY_SEND: (control.of_a_canary,),
        Effect.CANARY_ANSWER: (control.of_a_canary,),
        Effect.WEBHOOK_SECRET: (webhooks.of_a_new_secret,),
        Effect.WEBHOOK_CLAIM: (webhooks.of_a_message,),
        Effect.WEBHOOK_POST: (webhooks.of_a_message,),
        Effect.WEBHOOK_RECORD: (webhooks.of_a_message,),
        Effect.WEBHOOK_DROP: (webhooks.of_a_disabled_endpoint,),
        Effect.WEBHOOK_TURN: (webhooks.of_a_turn,),
        Effect.WEBHOOK_END_TURN: (webhooks.of_a_turn,),
        Effect.WEBHOOK_GIVE_UP: (webhooks.of_an_overdue_message,),
        Effect.WEBHOOK_FORGET: (webhooks.of_an_old_message,),
        # Last: what begins while it starts again waits for it.
        Effect.NODE_REMOVE: (control.of_an_end,),
    },
    "beat": {
        Effect.BEAT: (control.of_time,),
    },
}
"""By role, each effect or single point that it passes, and what leads it there."""

_WHOLE_NODES = (
    ("worker", Effect.CLAIM.after, worker.of_a_job),
    ("worker", RUN_MID, worker.of_a_job),
    ("worker", Effect.OUTPUT.after, worker.of_a_job),
    ("worker", Effect.SETTLE.after, worker.of_a_job),
    ("api", Effect.SUBMIT.after, api.with_a_key),
)
"""Where a process dies and its parent with it, as when a machine loses power."""


@dataclass(frozen=True, slots=True)
class Case:
    """A process of this role dies at this point, to which this step leads it."""

    role: str
    point: str
    step: Step
    victim: Victim = "child"


def cases(role: str) -> Iterator[Case]:
    """Every case of a role."""
    for where, steps in PASSED_BY[role].items():
        for point in _points_of(where):
            for step in steps:
                yield Case(role, point, step)
    for node, point, step in _WHOLE_NODES:
        if node == role:
            yield Case(role, point, step, "node")


def pairs() -> set[tuple[str, str]]:
    """(role, point) of everything that is passed."""
    return {
        (role, point)
        for role, passed in PASSED_BY.items()
        for where in passed
        for point in _points_of(where)
    }


def _points_of(where: Effect | str) -> tuple[str, ...]:
    return (where.before, where.after) if isinstance(where, Effect) else (where,)
