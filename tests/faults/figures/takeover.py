"""How long it takes from a worker's death to its job running elsewhere."""

from __future__ import annotations

import os
import signal
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from farm.config import Settings
from tests.faults.trial.farm import LEASE_S, TrialFarm, trial_farm
from tests.faults.trial.oracle import Oracle
from tests.processes import wait_until

_RUN = "run=3 steps=60"
_BOUND_S = 120.0
DEFAULTS = {
    f"FARM_{name.upper()}": f"{Settings.model_fields[name].default:g}"
    for name in ("lease_s", "sweep_every_s", "rering_after_s")
}


@dataclass(frozen=True, slots=True)
class Takeovers:
    """Seconds from each SIGKILL to the job's next attempt, and what the oracle complains of."""

    seconds: tuple[float, ...]
    complaints: tuple[str, ...]
    took_s: float

    @property
    def worst(self) -> float:
        """The longest, in seconds."""
        return max(self.seconds)

    @property
    def told(self) -> str:
        """For people."""
        return (
            f"worst {self.worst:.2f} s, median {statistics.median(self.seconds):.2f} s "
            f"of {len(self.seconds)}; {len(self.complaints)} violations"
        )


def with_default_settings(folder: Path, rounds: int) -> Takeovers:
    """As the farm comes, with a lease of 30 s."""
    return _measure(folder, rounds, DEFAULTS)


def with_a_short_lease(folder: Path, rounds: int) -> Takeovers:
    """With a lease of two seconds."""
    return _measure(folder, rounds, {"FARM_LEASE_S": f"{LEASE_S:g}"})


def _measure(folder: Path, rounds: int, settings: dict[str, str]) -> Takeovers:
    started = time.monotonic()
    with trial_farm(folder, soft_s=60, hard_s=90, **settings) as farm:
        farm.keep("api", "control", "beat", "worker", "worker-2")
        oracle = Oracle(farm)
        seconds = tuple(_one(farm, oracle) for _ in range(rounds))
        ends = oracle.verdict(_BOUND_S)
    return Takeovers(seconds, ends.complaints, time.monotonic() - started)


def _one(farm: TrialFarm, oracle: Oracle) -> float:
    """Kill the node that runs a job; seconds until its next attempt has been claimed."""
    job = oracle.submit(_RUN)
    wait_until(lambda: farm.column("step", job) > 0, _BOUND_S, farm.logs)
    worker = str(farm.column("worker", job))
    # Its name ends in the pid of the parent: worker-any-<pid>@<host>.
    pid = int(worker.partition("@")[0].rpartition("-")[2])
    killed = _now(farm)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: farm.column("attempt", job) > 1, _BOUND_S, farm.logs)
    again: float = farm.column("extract(epoch FROM started_at)::float8", job)
    assert farm.column("worker", job) != worker
    oracle.quiet(_BOUND_S)
    # The keeper starts it again, and the next one that dies should not be the last.
    for name in farm.keeper.names:
        farm.ready(name)
    return again - killed


def _now(farm: TrialFarm) -> float:
    """The database's clock, as the job's own times are."""
    with farm.services.db.statement() as connection:
        clock = text("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(connection.execute(clock).scalar_one())
