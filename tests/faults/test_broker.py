"""The broker is emptied, crashes, is away or leads nowhere: whatever was accepted is run."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.trial.farm import LEASE_S
from tests.faults.trial.wires import Wired
from tests.processes import wait_until
from tests.services import flush

STARTED_WITHIN_S = 20.0
"""After the broker is back, every job that waited has been started."""
JOBS = 6
AWAY_S = 2.0

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("faults-wires")]


def _emptied(wired: Wired) -> None:
    assert wired.farm.redis is not None
    flush(wired.farm.redis.url)


def _crashed(wired: Wired) -> None:
    assert wired.farm.redis is not None
    wired.farm.redis.kill()
    wired.farm.redis.start()


def _half_open(wired: Wired) -> None:
    wired.way.redis.silence()
    time.sleep(LEASE_S)
    wired.way.redis.heal()


@pytest.mark.parametrize("befalls", [_emptied, _crashed, _half_open])
def test_what_waited_is_started_soon(wired: Wired, befalls: Callable[[Wired], None]) -> None:
    jobs = _one_runs_and_others_wait(wired)
    befalls(wired)
    _all_start(wired, jobs)
    wired.ended_well()


def test_while_it_is_away_jobs_are_accepted_and_runs_are_settled(wired: Wired) -> None:
    jobs = _one_runs_and_others_wait(wired)
    until = time.monotonic() + AWAY_S
    wired.way.redis.refuse()
    with ThreadPoolExecutor(2) as clients:
        # Once each: nobody has to ask again.
        asked = [clients.submit(_submit_once, wired) for _ in range(JOBS)]
        late = [one.result() for one in asked]
    wired.ends(jobs[0], "succeeded")
    assert wired.way.redis.mode == "refusing", "it was settled without the broker"
    time.sleep(max(0.0, until - time.monotonic()))
    wired.way.redis.heal()
    _all_start(wired, [*jobs, *late])
    wired.ended_well()


def _one_runs_and_others_wait(wired: Wired) -> list[str]:
    """The jobs, the running one first."""
    running = wired.oracle.submit("run=2 steps=20")
    wired.started(running)
    with ThreadPoolExecutor(JOBS) as clients:
        waiting = list(clients.map(lambda _: wired.oracle.submit(), range(JOBS)))
    queued = "SELECT count(*) FROM jobs WHERE account_id = :id AND state = 'queued'"
    assert wired.value(queued, id=wired.who.account_id) == JOBS, "the first one has ended already"
    return [running, *waiting]


def _all_start(wired: Wired, jobs: Sequence[str]) -> None:
    healed = time.monotonic()

    def left() -> set[str]:
        return set(jobs) - {job for what, job, _, _ in wired.farm.runs() if what == "start"}

    wait_until(lambda: not left(), STARTED_WITHIN_S, lambda: f"{left()} wait\n{wired.farm.logs()}")
    print(f"all started after {time.monotonic() - healed:.1f} s")


def _submit_once(wired: Wired) -> str:
    try:
        return wired.oracle.submit(patience_s=0)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"a submit was answered {error.code}") from error
