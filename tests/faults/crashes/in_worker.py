"""Steps that lead a worker past its points."""

from __future__ import annotations

import time

import psutil

from tests.faults.crashes.lane import Bomb, Lane
from tests.processes import is_alive, wait_until

_TRIES, _TAKEN_S = 10, 3.0
_LONG, _LONGER = "run=3 steps=30", "run=10 steps=100"


def of_a_job(lane: Lane, bomb: Bomb) -> None:
    """A job that goes well."""
    _ended(lane, bomb, "run=0.5 steps=5", "succeeded")


def of_a_break(lane: Lane, bomb: Bomb) -> None:
    """A job whose first attempt breaks, and whose second goes well."""
    _ended(lane, bomb, "fail=error times=1", "succeeded")


def of_a_wrong_request(lane: Lane, bomb: Bomb) -> None:
    """A job that cannot go well."""
    _ended(lane, bomb, "fail=wrong", "failed")


def of_a_refusal(lane: Lane, bomb: Bomb) -> None:
    """A job whose result the content policy refuses."""
    _ended(lane, bomb, "fail=refuse", "blocked")


def of_a_cancel(lane: Lane, bomb: Bomb) -> None:
    """A job that is cancelled while it runs."""
    lane.calm()
    job = lane.oracle.submit(_LONGER, model=lane.model)
    lane.started(job)
    bomb.arm()
    lane.call(lane.who, "POST", f"/v1/jobs/{job}/cancel")
    bomb.wait()
    lane.ends(job, "cancelled")


def of_a_drain(lane: Lane, bomb: Bomb) -> None:
    """The worker is stopped while a job runs that takes longer than a drain."""
    lane.calm()
    job = lane.oracle.submit(_LONG, model=lane.model)
    lane.started(job)
    bomb.arm()
    lane.stop()
    bomb.wait()
    lane.ends(job, "succeeded")


def of_a_late_message(lane: Lane, bomb: Bomb) -> None:
    """A message reaches a worker's child after the worker was told to stop."""
    for _ in range(_TRIES):
        lane.calm()
        child = _child(lane)
        child.suspend()
        try:
            job = lane.oracle.submit(model=lane.model)
            # Not where something else came first, as a canary.
            if is_taken := _is_taken(lane, job):
                bomb.arm()
                lane.stop()
                # Its shutdown begins, and says so in the memory that the child looks at.
                log = lane.farm.keeper.process(lane.role)
                wait_until(lambda log=log: "Warm shutdown" in log.output(), 20, log.output)
        finally:
            child.resume()
        if is_taken:
            bomb.wait()
        lane.ends(job, "succeeded")
        if is_taken:
            return
    raise AssertionError(f"in {_TRIES} tries no message was taken by a child that was stopped")


def of_a_canary(lane: Lane, bomb: Bomb) -> None:
    """A canary is taken."""
    lane.calm()
    lane.canary_due(bomb, lane.queue)
    bomb.wait()
    lane.canary_comes(lane.queue)


def of_an_end(lane: Lane, bomb: Bomb) -> None:
    """The idle worker is stopped."""
    lane.calm()
    bomb.arm()
    bomb.wait(lane.stop())


def _ended(lane: Lane, bomb: Bomb, orders: str, state: str) -> None:
    lane.calm()
    bomb.arm()
    job = lane.oracle.submit(orders, model=lane.model)
    bomb.wait()
    lane.ends(job, state)


def _child(lane: Lane) -> psutil.Process:
    process = lane.farm.keeper.process(lane.role)
    lane.farm.ready(lane.role, process)
    parent = psutil.Process(process.pid)
    return wait_until(lambda: next(filter(is_alive, parent.children()), None), 20, process.output)


def _is_taken(lane: Lane, job: str) -> bool:
    """Whether a worker takes a job's message from its queue within a few seconds."""
    process = lane.farm.keeper.process(lane.role)
    until = time.monotonic() + _TAKEN_S
    while time.monotonic() < until:
        if f"[{job}] received" in process.output():
            return True
        time.sleep(0.05)
    return False
