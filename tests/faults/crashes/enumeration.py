"""Every crash point in every process that passes it: a process is killed there, and all is well.

The cases of one lane come one after the other, the lanes run side by side on one farm, and at the
end the oracle looks at everything that was asked of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from farm.broker import make_celery
from tests.farm.webhooks.receiver import Receiver
from tests.faults.crashes import in_control, in_webhooks, table
from tests.faults.crashes.lane import Bomb, Lane, Pictures
from tests.faults.crashes.table import Case
from tests.faults.trial.farm import TrialFarm, customer, trial_farm
from tests.faults.trial.oracle import Oracle

_WORKERS = ("worker.sdxl", "worker.flux-schnell", "worker.remove-background")
_FETCHING = (in_control.of_a_url, in_control.of_a_wrong_url)


@dataclass(frozen=True, slots=True)
class Enumeration:
    """What came of it: how many points there are and who passes them, how many processes were
    killed, what is wrong, who passed what, and how long it took."""

    points: int
    pairs: int
    kills: int
    violations: tuple[str, ...]
    passed: frozenset[tuple[str, str]]
    took_s: float

    @property
    def told(self) -> str:
        """For people."""
        return (
            f"{self.points} crash points, {self.pairs} with the processes that pass them, "
            f"{self.kills} killed there, {len(self.violations)} violations, {self.took_s:.0f} s"
        )


def enumerate_all(folder: Path, *, database_url: str = "") -> Enumeration:
    """Kill a process at every point in every role that passes it, on a farm in this folder.

    Args:
        folder, database_url: as for :func:`tests.faults.trial.farm.trial_farm`.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        receiver, pictures = stack.enter_context(Receiver()), stack.enter_context(Pictures())
        allow = f"{receiver.trust},{pictures.trust}"
        farm = stack.enter_context(
            trial_farm(
                folder,
                database_url=database_url,
                FARM_FETCH_ALLOW=allow,
                FARM_WEB_WORKERS="2",
                # On a busy machine more sweeps than these are asked for than are done, and what
                # waits behind them in the control worker would wait for ever.
                FARM_SWEEP_EVERY_S="2",
                FARM_SWITCH_AFTER_S="2",
                # Long enough for a job to be met in the middle on a busy machine.
                soft_s=30,
                hard_s=40,
            )
        )
        farm.keep("api", "control", "beat", *_WORKERS)
        oracle = Oracle(farm)
        lanes = _lanes(farm, oracle, receiver, pictures)
        bombs: list[Bomb] = []
        with ThreadPoolExecutor(len(lanes)) as threads:
            walks = [threads.submit(_walk, lane, cases, bombs) for lane, cases in lanes]
        violations = [complaint for walk in walks for complaint in walk.result()]
        violations += [f"{bomb} was not killed" for bomb in bombs if not bomb.was_killed()]
        violations += oracle.verdict().complaints
        passed = {(role.partition(".")[0], point) for role, point in farm.armoury.passed()}
    written = table.pairs()
    return Enumeration(
        len({point for _, point in written}),
        len(written),
        len(bombs),
        tuple(violations),
        frozenset(passed),
        time.monotonic() - began,
    )


def _lanes(
    farm: TrialFarm, oracle: Oracle, receiver: Receiver, pictures: Pictures
) -> list[tuple[Lane, list[Case]]]:
    celery = make_celery(farm.services.settings, farm.services.catalog)

    def lane(role: str, model: str, cases: Sequence[Case]) -> tuple[Lane, list[Case]]:
        who = customer(farm.services) if cases and cases[0] in webhooks else farm.who
        return Lane(farm, oracle, receiver, pictures, celery, role, model, who), list(cases)

    workers, control = list(table.cases("worker")), list(table.cases("control"))
    fetching = [case for case in control if case.step in _FETCHING]
    webhooks = [case for case in control if case.step.__module__ == in_webhooks.__name__]
    others = [case for case in control if case not in fetching and case not in webhooks]
    half = len(others) // 2
    return [
        lane("api", "sdxl", list(table.cases("api"))),
        lane("worker.sdxl", "sdxl", workers[0::2]),
        lane("worker.flux-schnell", "flux-schnell", workers[1::2]),
        lane("control", "flux-schnell", others[:half]),
        lane("control", "sdxl", others[half:]),
        lane("control", "remove-background", fetching),
        lane("control", "sdxl", webhooks),
        lane("beat", "sdxl", list(table.cases("beat"))),
    ]


def _walk(lane: Lane, cases: Sequence[Case], bombs: list[Bomb]) -> list[str]:
    """Run a lane's cases; what went wrong."""
    complaints = []
    for case in cases:
        bomb = lane.bomb(case.point, case.victim)
        began = time.monotonic()
        try:
            case.step(lane, bomb)
        except Exception as error:  # noqa: BLE001
            complaints.append(f"{bomb}, {case.step.__name__}: {type(error).__name__}: {error}")
            lane.farm.armoury.take_back(bomb.role, bomb.point)
        else:
            bombs.append(bomb)
        print(f"{time.monotonic() - began:5.1f} s  {bomb}, {case.step.__name__}", flush=True)
    return complaints
