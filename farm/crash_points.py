"""Named places before and after every outside effect, where a test may end the process.

A process can die anywhere; what it leaves behind differs only by which effects had happened.
So it is enough to kill it on both sides of each one. Nothing is armed in a running farm, and
then reaching a point costs next to nothing.

What only reads has no point here, nor what only counts calls. A command of the operator's has
none either: it is one transaction, which the person who typed it sees end.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Effect(StrEnum):
    """Everything that the farm does to the world outside a process: ``<what>.<verb>``.

    An effect has two points, as ``settle.before_commit`` and ``settle.after_commit``.
    """

    # The way in: the web process.
    SUBMIT = "submit.commit"
    """One job, its hold and its Idempotency-Key."""
    BATCH = "batch.commit"
    """Several jobs of one request."""
    REFUSAL = "refusal.commit"
    """A job that ends as it is made, because its words are refused."""
    INPUT = "input.put"
    """A picture that a job starts from, made durable."""
    CANCEL = "cancel.commit"
    DISPATCH = "dispatch.ring"
    """A batch of messages to the broker."""
    ANNOUNCE = "announce.publish"
    """Whoever waits for a job is told of it."""

    # A job's run: the worker.
    CLAIM = "claim.commit"
    RENEW_LEASE = "heartbeat.renew"
    OUTPUT = "output.put"
    SETTLE = "settle.commit"
    """Success: state, charge and output."""
    FAIL = "fail.commit"
    """An attempt that broke: back to the queue, or the job's end."""
    BLOCK = "block.commit"
    """A result that is refused."""
    HAND_BACK = "hand_back.commit"
    LEAVE = "leave.commit"
    """A message that came while its worker was stopping: the sweeper rings again."""
    FREED = "freed.commit"
    """A note that the worker of a cancelled job has stopped."""
    NODE_REPORT = "node.report"
    NODE_REMOVE = "node.remove"

    # What beat sends, and the control worker does.
    BEAT = "beat.send"
    SWEEP = "sweep.mark"
    """Jobs are marked as rung; ringing for them comes next."""
    REAP = "reap.commit"
    EXPIRE = "expire.commit"
    FETCH_BEGIN = "fetch.begin"
    FETCH_FINISH = "fetch.finish"
    FETCH_REFUSE = "fetch.refuse"
    OUTPUT_DELETE = "output.delete"
    """The file of an output whose day is over."""
    OUTPUT_MARK = "output.mark"
    """Its row."""
    INPUT_DELETE = "input.delete"
    INPUT_MARK = "input.mark"
    ORPHAN_DELETE = "orphan.delete"
    """The files of an attempt that never settled."""
    KEY_FORGET = "key.forget"
    """Idempotency-Keys that are older than a day."""
    NODE_FORGET = "node.forget"
    MONTH = "month.begin"
    AUDIT = "audit.keep"
    CANARY_SEND = "canary.send"
    """Canaries are sent, and noted as sent."""
    CANARY_ANSWER = "canary.answer"
    """A worker notes the canary that it took."""

    # Telling customers: the control worker too.
    WEBHOOK_TURN = "webhook.turn"
    WEBHOOK_END_TURN = "webhook.end_turn"
    WEBHOOK_CLAIM = "webhook.claim"
    WEBHOOK_SECRET = "webhook.secret"
    """The secret that signs what goes to the URLs of an account's submits, when first needed."""
    WEBHOOK_POST = "webhook.post"
    WEBHOOK_RECORD = "webhook.record"
    WEBHOOK_DROP = "webhook.drop"
    WEBHOOK_GIVE_UP = "webhook.give_up"
    """Deliveries that have been due for too long."""
    WEBHOOK_FORGET = "webhook.forget"
    """Deliveries that are older than is kept."""

    @property
    def before(self) -> str:
        """The name of the point before it."""
        what, _, verb = self.partition(".")
        return f"{what}.before_{verb}"

    @property
    def after(self) -> str:
        """The name of the point after it."""
        what, _, verb = self.partition(".")
        return f"{what}.after_{verb}"


RUN_MID = "run.mid"
"""In the middle of an engine's run, at each step of the model."""
FILE_RENAME = "file.before_rename"
"""A stored file is whole and on the disk, and does not have its name yet."""
ANSWER = "answer.before_send"
"""The jobs of a request are there and rung for; the client has not heard of them."""


def points() -> tuple[str, ...]:
    """The name of every point."""
    pairs = (name for effect in Effect for name in (effect.before, effect.after))
    return (*pairs, RUN_MID, FILE_RENAME, ANSWER)


class _Around:
    """The two points of an effect. It keeps nothing, so that one serves every thread."""

    # By hand: every submit passes a few of these, and a generator takes five times as long.
    __slots__ = ("_after", "_before")

    def __init__(self, effect: Effect) -> None:
        self._before, self._after = effect.before, effect.after

    def __enter__(self) -> None:
        if _armed:
            reach(self._before)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if _armed and kind is None:
            reach(self._after)


_AROUND = {effect: _Around(effect) for effect in Effect}


def around(effect: Effect) -> _Around:
    """The block is this effect; its second point is reached only where the block succeeds."""
    return _AROUND[effect]


def reach(point: str) -> None:
    """This process is at that point."""
    for armed in _armed:
        armed(point)


def arm(*armed: Callable[[str], None]) -> None:
    """Call these at every point from now on, here and in processes forked later; none: nothing."""
    _armed[:] = armed


_armed: list[Callable[[str], None]] = []
