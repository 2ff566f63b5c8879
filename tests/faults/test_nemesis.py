"""A short campaign; ``make faults`` has the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.figures.nemesis import campaign

SEED = 20_261_121
JOBS = 40
DEATHS = 3
"""Fewer would say nothing."""

pytestmark = pytest.mark.timeout(240)


def test_processes_killed_at_random_lose_nothing_and_charge_nobody_twice(
    servers_folder: Path,
) -> None:
    folder = servers_folder / "nemesis"
    found = campaign(folder, jobs=JOBS, seed=SEED, timeout_s=90, deaths=DEATHS)
    print(found.told)
    assert not found.ends.complaints, f"seed {SEED}: {found.told}\n" + "\n".join(
        found.ends.complaints
    )
    assert found.killed.total() >= DEATHS, found.told
    assert found.ends.states["succeeded"] >= found.jobs * 2 // 3, found.told
