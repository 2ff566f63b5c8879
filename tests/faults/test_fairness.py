"""One customer's backlog is not another customer's wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.figures.fairness import measure
from tests.services import Databases

pytestmark = pytest.mark.timeout(200)
_MUST = 5.0


def test_a_flood_of_one_customer_makes_another_wait_for_a_job_or_two(
    servers_folder: Path, databases: Databases
) -> None:
    with databases.fresh() as url:
        found = measure(servers_folder / "flood", flood=60, rounds=6, database_url=url)
    print(found.told)
    assert not found.complaints
    assert found.ratio <= _MUST, found.told
