"""A farm whose broker forgets all, or whose server is away, while customers go on asking."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import urllib.error
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from farm.servers import Server
from tests.faults.figures.takeover import DEFAULTS
from tests.faults.trial.farm import TrialFarm, trial_farm
from tests.faults.trial.oracle import Ends, Oracle, call
from tests.processes import wait_until
from tests.services import flush

WORKERS = ("worker", "worker-2")
SOFT_S, HARD_S = 120, 150
_CLIENTS = 4
_EVERY_S = 0.5
"""Each client asks this often."""
_AGAIN_S = 0.5
_BOUND_S = 300.0
_AWAY = 503


@dataclass(frozen=True, slots=True)
class Emptied:
    """Seconds from Redis being emptied until every job that waited had been started."""

    seconds: float
    jobs: int
    complaints: tuple[str, ...]
    took_s: float

    @property
    def told(self) -> str:
        """For people."""
        return f"{self.seconds:.1f} s for {self.jobs} jobs; {len(self.complaints)} violations"


@dataclass(frozen=True, slots=True)
class Away:
    """What customers and their jobs saw of an outage.

    ``slowest_s`` is the slowest answer while the server was away; ``quiet_s`` how long after its
    return the last job had ended that was asked for until then.
    """

    answers: Counter[int]
    slowest_s: float
    quiet_s: float
    ends: Ends
    complaints: tuple[str, ...]
    took_s: float

    @property
    def told(self) -> str:
        """For people."""
        answers = ", ".join(f"{n} × {code}" for code, n in sorted(self.answers.items()))
        states = ", ".join(f"{n} {state}" for state, n in sorted(self.ends.states.items()))
        return (
            f"{len(self.complaints)} violations; answers meanwhile: {answers}, "
            f"slowest {self.slowest_s:.2f} s; jobs: {states}; quiet {self.quiet_s:.0f} s after"
        )


def redis_emptied(folder: Path, *, queued: int, running: int) -> Emptied:
    """Let Redis forget every message while so many jobs wait and run, on the default settings."""
    began = time.monotonic()
    with _farm(folder, "api", "control", "beat") as farm:
        assert farm.redis is not None
        oracle = Oracle(farm)
        held = [oracle.submit("run=5 steps=50") for _ in range(running)]
        with ThreadPoolExecutor(2 * _CLIENTS) as clients:
            jobs = set(clients.map(lambda _: oracle.submit("run=0 steps=1"), range(queued)))
        # One each, which are the first in line.
        farm.keep(*(f"worker-{number}" for number in range(running)))
        for job in held:
            _is_running(farm, job)
        left = jobs - _started(farm)
        flush(farm.redis.url)
        emptied = time.monotonic()
        wait_until(lambda: jobs <= _started(farm), _BOUND_S, farm.logs)
        seconds = time.monotonic() - emptied
        ends = oracle.verdict(_BOUND_S)
    return Emptied(seconds, len(left), ends.complaints, time.monotonic() - began)


def redis_away(folder: Path, *, seconds: float) -> Away:
    """Stop Redis for so long. Nobody who asks meanwhile is to notice it."""
    with _farm(folder, "api", "control", "beat", *WORKERS) as farm:
        assert farm.redis is not None
        return _away(farm, farm.redis, seconds, {200})


def postgres_away(folder: Path, *, seconds: float) -> Away:
    """Stop PostgreSQL for so long. Who asks meanwhile is told so; what runs goes on."""
    with _farm(folder, "api", "control", "beat", *WORKERS) as farm:
        assert farm.postgres is not None
        return _away(farm, farm.postgres, seconds, {_AWAY})


def _away(farm: TrialFarm, server: Server, seconds: float, allowed: set[int]) -> Away:
    began = time.monotonic()
    oracle = Oracle(farm)
    held = [oracle.submit(f"run={seconds / 2:g} steps=100") for _ in WORKERS]
    for job in held:
        _is_running(farm, job)
    with _Customers(farm, oracle) as customers:
        time.sleep(2 * _EVERY_S)
        server.stop()
        stopped = time.monotonic()
        time.sleep(seconds)
        # What is answered while it starts may be either.
        starts = time.monotonic()
        server.start()
        farm.services.db.dispose()
        back = time.monotonic()
        time.sleep(2 * _EVERY_S)
    oracle.quiet(_BOUND_S)
    quiet_s = time.monotonic() - back
    ends = oracle.verdict(_BOUND_S)
    meanwhile = [a for a in customers.answers if stopped <= a.at and a.at + a.took_s <= starts]
    answers = Counter(answer.code for answer in meanwhile)
    complaints = [f"{n} answers were {code}" for code, n in answers.items() if code not in allowed]
    complaints += [
        f"job {job} ran more than once" for job in held if farm.column("attempt", job) != 1
    ]
    slowest_s = max((answer.took_s for answer in meanwhile), default=0.0)
    return Away(
        answers,
        slowest_s,
        quiet_s,
        ends,
        (*ends.complaints, *complaints),
        time.monotonic() - began,
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """When somebody asked, how long the answer took, and its status; 0 is none."""

    at: float
    took_s: float
    code: int


class _Customers:
    """Ask for pictures from several threads, between ``__enter__`` and ``__exit__``; again with
    the same Idempotency-Key until it is granted."""

    def __init__(self, farm: TrialFarm, oracle: Oracle) -> None:
        self._farm = farm
        self._oracle = oracle
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(_CLIENTS)
        self.answers: list[_Answer] = []

    def __enter__(self) -> Self:
        self._asking = [self._pool.submit(self._ask) for _ in range(_CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for asked in self._asking:
            asked.result()

    def _ask(self) -> None:
        while not self._stop.wait(_EVERY_S):
            headers = {"Idempotency-Key": str(uuid.uuid4())}
            until = time.monotonic() + _BOUND_S
            while not self._once(headers):
                assert time.monotonic() < until, "it was never granted"
                time.sleep(_AGAIN_S)

    def _once(self, headers: dict[str, str]) -> bool:
        body = {"prompt": "a red circle", "model": "sdxl"}
        at, code = time.monotonic(), 0
        try:
            answer = call(self._farm, self._farm.who, "POST", "/v1/image/generate", body, headers)
            code = 200
        except urllib.error.HTTPError as error:
            code = error.code
        except (OSError, http.client.HTTPException):
            pass
        self.answers.append(_Answer(at, time.monotonic() - at, code))
        if code != 200:
            return False
        price = float(answer["credits_used"])
        self._oracle.note(answer["generation_id"], self._farm.who, price)
        return True


@contextlib.contextmanager
def _farm(folder: Path, *names: str) -> Iterator[TrialFarm]:
    folder.mkdir(parents=True, exist_ok=True)
    with trial_farm(folder, durable=True, soft_s=SOFT_S, hard_s=HARD_S, **DEFAULTS) as farm:
        farm.keep(*names)
        yield farm


def _is_running(farm: TrialFarm, job: str) -> None:
    """Wait until a worker has it in hand."""
    wait_until(lambda: farm.column("state", job) == "running", _BOUND_S, farm.logs)


def _started(farm: TrialFarm) -> set[str]:
    return {job for what, job, _, _ in farm.runs() if what == "start"}
