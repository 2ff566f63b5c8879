"""A short campaign; ``make faults`` has the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.figures.nemesis import campaign

SEED = 20_261_121
JOBS = 40

pytestmark = pytest.mark.timeout(240)


def test_processes_killed_at_random_lose_nothing_and_charge_nobody_twice(
    servers_folder: Path,
) -> None:
    found = campaign(servers_folder / "nemesis", jobs=JOBS, seed=SEED, timeout_s=90)
    print(found.told)
    assert not found.ends.complaints, f"seed {SEED}: {found.told}\n" + "\n".join(
        found.ends.complaints
    )
    # Without enough deaths it would say nothing.
    assert found.killed.total() >= 3, found.told
    assert found.ends.states["succeeded"] >= JOBS * 2 // 3, found.told
