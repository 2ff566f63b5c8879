"""How soon everybody works again after the broker was away, or half-open, and came back.

The trial farm's processes reach their broker past a proxy. Whoever orders the jobs does not: each
job waits in the broker before the way heals, so what is measured is the farm's own processes.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from celery import Celery

from farm.broker import make_celery
from farm.dispatch import Dispatcher
from farm.submit import submit
from tests import factories
from tests.farm.checks import scalar
from tests.faults.trial.farm import TrialFarm
from tests.faults.trial.proxy import Proxy
from tests.processes import wait_until

MODEL = "sdxl"
NAMES = ("worker.sdxl", "control", "beat")
LIMIT_S = 60.0
"""Whoever is not back by then is deaf."""


@dataclass
class Figures:
    """Seconds from healing until the worker had run a job, and until beat and control together
    had run a task, for each time that the broker was away and each that it was half-open."""

    away: list[tuple[float, float]] = field(default_factory=list)
    half_open: list[tuple[float, float]] = field(default_factory=list)

    @property
    def worst_s(self) -> float:
        """The longest of all."""
        return max(seconds for both in (*self.away, *self.half_open) for seconds in both)

    @property
    def told(self) -> str:
        """The seconds of the worker, each time and in order, and the worst of the others."""
        kinds = (("away", self.away), ("half-open", self.half_open))
        return "; ".join(
            f"{name}: worker {' '.join(f'{worker:.1f}' for worker, _ in times)}, "
            f"control and beat at most {max(others for _, others in times):.1f}"
            for name, times in kinds
            if times
        )


def measure(
    farm: TrialFarm,
    way: Proxy,
    *,
    flaps: int,
    flap_s: float = 2.0,
    half_opens: int = 0,
    half_open_s: float = 60.0,
    celery: Celery | None = None,
) -> Figures:
    """Take the broker away so many times, and be silent so many times, and see who comes back.

    Args:
        farm: its worker, control and beat run, and reach their broker past ``way``.
        celery: reaches it otherwise; the farm's own, where that does.

    Raises:
        AssertionError: somebody was not back within a minute.
    """
    figures = Figures()
    services = farm.services
    dispatcher = Dispatcher(celery or make_celery(services.settings, services.catalog))
    for _ in range(flaps):
        figures.away.append(_once(farm, dispatcher, way.away(flap_s)))
        time.sleep(_CALM_S)
    for _ in range(half_opens):
        figures.half_open.append(_once(farm, dispatcher, _silent(way, half_open_s)))
        time.sleep(_CALM_S)
    dispatcher.stop()
    return figures


def _once(
    farm: TrialFarm, dispatcher: Dispatcher, trouble: AbstractContextManager[None]
) -> tuple[float, float]:
    with trouble:
        request = factories.request(MODEL, prompt="run=0 steps=1", width=512, height=512)
        ring = submit(farm.services, farm.who.principal, request).ring
        dispatcher.ring_now([ring])
    healed = time.monotonic()
    sweeps = _sweeps(farm)
    has_run = _ran(farm, ring.job_id)
    waits: dict[str, float] = {}
    back = {"worker": has_run, "control": lambda: _sweeps(farm) > sweeps}

    def all_back() -> bool:
        for name, is_back in back.items():
            if name not in waits and is_back():
                waits[name] = time.monotonic() - healed
        return len(waits) == len(back)

    wait_until(all_back, LIMIT_S, lambda: f"only {waits} are back\n{farm.logs()}")
    return waits["worker"], waits["control"]


def _ran(farm: TrialFarm, job_id: uuid.UUID) -> Callable[[], bool]:
    sql = "SELECT state = 'succeeded' FROM jobs WHERE id = :id"
    return lambda: bool(scalar(farm.services, sql, id=job_id))


def _sweeps(farm: TrialFarm) -> int:
    """How many sweeps control has done; beat sent each of them."""
    return farm.keeper.process("control").output().count("Task farm.sweep[") // 2


@contextlib.contextmanager
def _silent(way: Proxy, seconds: float) -> Iterator[None]:
    way.silence()
    try:
        yield
        time.sleep(seconds)
    finally:
        way.heal()


_CALM_S = 1.0
"""Between two troubles everybody works."""
