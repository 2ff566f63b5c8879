"""Crash points: where they are reached, and that nothing happens while none is armed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farm import crash_points
from farm.crash_points import Effect, around, points, reach


@pytest.fixture
def passed() -> Iterator[list[str]]:
    """The points that this process passes, in order."""
    found: list[str] = []
    crash_points.arm(found.append)
    yield found
    crash_points.arm()


def test_an_effect_has_a_point_on_either_side(passed: list[str]) -> None:
    with around(Effect.SETTLE):
        passed.append("commit")
    assert passed == ["settle.before_commit", "commit", "settle.after_commit"]


def test_an_effect_that_fails_has_no_second_point(passed: list[str]) -> None:
    with pytest.raises(OSError, match="full"), around(Effect.OUTPUT):
        raise OSError("full")
    assert passed == ["output.before_put"]


def test_a_process_of_a_farm_has_none_armed(passed: list[str]) -> None:
    crash_points.arm()
    with around(Effect.CLAIM):
        reach(crash_points.RUN_MID)
    assert passed == []


def test_no_two_points_have_the_same_name() -> None:
    assert len(set(points())) == len(points())
