"""A process that dies beside any outside effect loses nothing and charges nobody twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import crash_points
from tests.faults.crashes import table
from tests.faults.crashes.enumeration import enumerate_all

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("faults-points")]


def test_every_point_is_led_to() -> None:
    """A point that nobody is led to has no case."""
    assert {point for _, point in table.pairs()} == set(crash_points.points())


def test_a_death_at_any_point_breaks_no_promise(servers_folder: Path) -> None:
    found = enumerate_all(servers_folder / "points")
    print(found.told)
    assert not found.violations, "\n\n".join(found.violations)
    # A point that another process passes has no case there.
    assert found.passed == table.pairs()
