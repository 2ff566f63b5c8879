"""Named places before and after every outside effect, where a test may end the process.

A process can die anywhere; what it leaves behind differs only by which effects had happened.
So it is enough to kill it on both sides of each one. Nothing is armed in a running farm, and
then reaching a point costs next to nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum


class Effect(StrEnum):
    """Everything that the farm does to the world outside a process: ``<what>.<verb>``.

    An effect has two points, as ``settle.before_commit`` and ``settle.after_commit``.
    """

    SUBMIT = "submit.commit"
    DISPATCH = "dispatch.ring"
    CLAIM = "claim.commit"
    OUTPUT = "output.put"
    SETTLE = "settle.commit"

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


def points() -> tuple[str, ...]:
    """The name of every point."""
    return (*(name for effect in Effect for name in (effect.before, effect.after)), RUN_MID)


@contextlib.contextmanager
def around(effect: Effect) -> Iterator[None]:
    """The block is this effect; its second point is reached only where the block succeeds."""
    reach(effect.before)
    yield
    reach(effect.after)


def reach(point: str) -> None:
    """This process is at that point."""
    for armed in _armed:
        armed(point)


def arm(*armed: Callable[[str], None]) -> None:
    """Call these at every point from now on, here and in processes forked later; none: nothing."""
    _armed[:] = armed


_armed: list[Callable[[str], None]] = []
