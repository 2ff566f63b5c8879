"""A short look at what ``make faults`` measures: who is back how soon after the broker was away."""

from __future__ import annotations

import pytest

from tests.faults.figures import flaps
from tests.faults.trial.wires import Wired

WITHIN_S = 15.0

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("faults-wires")]


def test_everybody_is_back_soon_after_the_broker_is(wired: Wired) -> None:
    found = flaps.measure(wired.farm, wired.way.redis, flaps=2)
    assert found.worst_s <= WITHIN_S, found.told
    wired.ended_well()
