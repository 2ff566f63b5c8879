"""Somebody who kills processes at random while customers go on asking for pictures."""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import psutil

from farm.servers import Server
from tests.faults.trial.farm import TrialFarm, customer, trial_farm
from tests.faults.trial.oracle import Ends, Oracle

KEPT = ("api", "control", "beat", "worker", "worker-2")
_EVERY_S = (0.5, 3.0)
_CLIENTS = 12
_LONGEST = 10
_PATIENCE_S = 6.0
"""A client asks for its next picture when it has the last one, or after so long."""
_TROUBLES = ("", "", "", "", "", "", "fail=error times=1", "fail=oom times=1", "fail=wrong")


@dataclass(frozen=True, slots=True)
class Campaign:
    """What became of one: how the jobs ended, who was killed how often, and how long it took."""

    ends: Ends
    jobs: int
    killed: Counter[str]
    took_s: float

    @property
    def told(self) -> str:
        """For people."""
        states = ", ".join(f"{n} {state}" for state, n in sorted(self.ends.states.items()))
        victims = ", ".join(f"{name} {n}" for name, n in sorted(self.killed.items()))
        return (
            f"{len(self.ends.complaints)} violations; {self.jobs} jobs: {states}; "
            f"{self.killed.total()} killed: {victims}"
        )


class Nemesis:
    """Kills one process of a farm at a time.

    Its victims are each process of the farm and each of their children, Redis, and PostgreSQL.
    The keeper starts processes again; the servers are started here, at once. So it belongs to the
    thread that the farm belongs to: a server ends with the thread that started it.
    """

    def __init__(self, farm: TrialFarm, draw: random.Random) -> None:
        self._farm = farm
        self._draw = draw
        self.killed: Counter[str] = Counter()

    def haunt(self, done: Sequence[Future[None]]) -> None:
        """Kill, and kill again, until all of these are done. Raises what one of them raised."""
        while wait(done, self._draw.uniform(*_EVERY_S), FIRST_EXCEPTION).not_done:
            if any(each.done() and each.exception() for each in done):
                break
            name, kill = self._draw.choice(self._victims())
            with contextlib.suppress(psutil.NoSuchProcess):
                kill()
                self.killed[name] += 1
        for each in done:
            each.result()

    def _victims(self) -> list[tuple[str, Callable[[], None]]]:
        """Every process that may be next, in an order that hangs on names alone."""
        found = []
        for name in sorted(self._farm.keeper.names):
            for place, member in enumerate(self._farm.keeper.process(name).family()):
                kind = f"{name.partition('-')[0]}{' child' if place else ''}"
                found.append((kind, member.kill))
        servers = (self._farm.redis, self._farm.postgres)
        return [*found, *((s.name, functools.partial(_crash, s)) for s in servers if s)]


def _crash(server: Server) -> None:
    server.kill()
    server.start()


def campaign(folder: Path, *, jobs: int, seed: int, timeout_s: float, deaths: int = 0) -> Campaign:
    """Have customers ask for pictures while the nemesis is about, and judge the end.

    Args:
        folder: made here; see :func:`tests.faults.trial.farm.trial_farm`.
        jobs: how many pictures they ask for, or more: they go on until ``deaths`` processes
            were killed, so that a quick machine is not spared, but at most ten times as long.
        timeout_s: the longest that the farm may take to be quiet afterwards.
    """
    started = time.monotonic()
    draw = random.Random(seed)
    with trial_farm(folder, durable=True) as farm:
        farm.keep(*KEPT)
        oracle = Oracle(farm)
        customers = [oracle.watch(customer(farm.services)) for _ in range(_CLIENTS)]
        draws = [random.Random(draw.random()) for _ in range(_CLIENTS)]
        nemesis = Nemesis(farm, draw)

        def client(number: int) -> None:
            for place in range(number, jobs * _LONGEST, _CLIENTS):
                if place >= jobs and nemesis.killed.total() >= deaths:
                    break
                prompt, model = _order(draws[number])
                job = oracle.submit(
                    prompt, who=customers[number], model=model, patience_s=timeout_s
                )
                oracle.ended(job, _PATIENCE_S)

        with ThreadPoolExecutor(_CLIENTS) as pool:
            nemesis.haunt([pool.submit(client, number) for number in range(_CLIENTS)])
        for name in farm.keeper.names:
            farm.ready(name)
        ends = oracle.verdict(timeout_s)
    asked = sum(ends.states.values())
    return Campaign(ends, asked, nemesis.killed, time.monotonic() - started)


def _order(draw: random.Random) -> tuple[str, str]:
    """What a client asks for next: a prompt, and a model."""
    run_s = draw.choice((0.02, 0.05, 0.1, 0.4))
    prompt = f"run={run_s} {draw.choice(_TROUBLES)} bytes={draw.randrange(100, 100_000)}"
    return prompt, draw.choice(("sdxl", "flux-schnell"))
