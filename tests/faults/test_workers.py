"""Workers that die, stand still, or cannot go on: each job ends once, and nobody pays for nothing.

Every test ends with the oracle: the books, each acknowledged job, the customer's balance, and how
often the engine ran.
"""

from __future__ import annotations

import signal

import psutil
import pytest

from farm.crash_points import RUN_MID, Effect
from tests.faults.trial.crew import LARGE, WORKERS, Crew
from tests.processes import is_alive, wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("crew")]


@pytest.mark.parametrize(
    ("point", "repeats", "orphans"),
    [
        (Effect.CLAIM.before, 0, 0),
        (RUN_MID, 1, 0),
        (Effect.SETTLE.before, 1, 1),
        (Effect.SETTLE.after, 0, 0),
    ],
)
def test_a_worker_killed_anywhere_costs_one_more_run_at_most(
    crew: Crew, point: str, repeats: int, orphans: int
) -> None:
    crew.farm.armoury.arm("worker", point)
    job = crew.oracle.submit("run=0.3")
    others = [crew.oracle.submit("run=0.3") for _ in range(2)]
    crew.oracle.quiet()
    assert crew.farm.armoury.fired("worker", point)
    # Each message is a turn of the queue, so that it may be any of them that was interrupted.
    died = next(name for name in (job, *others) if len(crew.starts(name)) > 1) if repeats else job
    settled = crew.farm.column("settled_attempt", died)
    assert len(crew.stored(died)) == 1 + orphans
    crew.sweep()
    assert crew.stored(died) == {settled}
    crew.oracle.check(repeats=repeats)


def test_a_worker_that_is_killed_takes_its_child_with_it(crew: Crew) -> None:
    """Nobody runs a job on a device that another worker is given."""
    job = crew.oracle.submit("run=2 steps=20")
    child = crew.running(job)
    node = child.parent()
    assert node is not None
    node.kill()
    wait_until(lambda: not is_alive(child), 5, crew.farm.logs)
    crew.oracle.check(repeats=1)


@pytest.mark.parametrize("point", [RUN_MID, Effect.SETTLE.before])
def test_a_worker_that_stood_still_past_its_lease_settles_nothing(crew: Crew, point: str) -> None:
    crew.farm.armoury.arm("worker", point, "stopped")
    job = crew.oracle.submit("run=0.3")
    pid = wait_until(lambda: crew.farm.armoury.fired("worker", point), 30, crew.farm.logs)
    child = psutil.Process(pid)
    node = child.parent()
    assert node is not None
    crew.oracle.quiet()
    for process in (node, child):
        process.resume()
    stopped = f"job {job} stopped: it was cancelled or taken over"
    wait_until(lambda: any(stopped in w.output() for w in crew.workers), 30, crew.farm.logs)
    crew.sweep()
    assert crew.stored(job) == {2}
    crew.oracle.check(repeats=1)


def test_messages_that_come_fifty_times_are_as_many_runs_as_jobs(crew: Crew) -> None:
    jobs = [crew.oracle.submit("run=0.2") for _ in range(6)]
    crew.ring(*jobs, times=50)
    crew.oracle.check(repeats=0)


def test_an_engine_that_breaks_is_retried_within_reason_and_costs_nothing(crew: Crew) -> None:
    expected = {
        "fail=error times=1": ("succeeded", None, 2),
        "fail=error": ("failed", "engine_failed", 3),
        "fail=oom times=1": ("succeeded", None, 2),
        "fail=oom": ("failed", "gpu_out_of_memory", 2),
        "fail=wrong": ("failed", "invalid_request", 1),
        "fail=refuse": ("blocked", "content_refused", 1),
        "fail=hang": ("failed", "timeout", 1),
        "fail=hang-hard": ("failed", "worker_crash", 2),
        "fail=exit times=1": ("succeeded", None, 2),
        "fail=exit": ("failed", "worker_crash", 2),
        "fail=abort": ("failed", "worker_crash", 2),
    }
    jobs = {orders: crew.oracle.submit(orders) for orders in expected}
    after = [crew.oracle.submit("run=0.1") for _ in range(4)]
    crew.oracle.check(repeats=0)
    found = {order: crew.row(job, "state, error_code, attempt") for order, job in jobs.items()}
    assert found == expected
    assert [len(crew.starts(job)) for job in after] == [1] * 4
    assert any("unloaded sdxl" in worker.output() for worker in crew.workers)


@pytest.mark.parametrize("trouble", ["full", "gone"])
def test_a_disk_that_takes_nothing_fails_the_attempts_until_it_does(
    crew: Crew, trouble: str
) -> None:
    before = crew.oracle.submit()
    crew.oracle.quiet()
    with crew.disk.full(crew.workers) if trouble == "full" else crew.disk.gone():
        job = crew.oracle.submit(f"fail= {LARGE}")
        crew.oracle.quiet()
        logs = "".join(worker.output() for worker in crew.workers)
        assert f"could not be stored in {crew.disk.root}" in logs
        if crew.disk.is_mounted or trouble == "gone":
            # It asks after the weights as well, which are quickest to look for where none are.
            doctor = crew.farm.start("doctor", FARM_WEIGHTS=str(crew.disk.root))
            assert doctor.wait(60) == 1
            said = f"FAIL  storage: An output could not be stored in {crew.disk.root}"
            assert said in doctor.output()
    assert crew.row(job, "state, error_code, attempt") == ("failed", "storage_unavailable", 3)
    after = crew.oracle.submit(LARGE)
    crew.oracle.check()
    for each in (before, after):
        assert crew.row(each, "state, attempt") == ("succeeded", 1)


def test_every_worker_is_told_to_end_under_load_and_no_attempt_is_counted(crew: Crew) -> None:
    jobs = []
    for name in WORKERS:
        worker = crew.farm.keeper.process(name)
        jobs += [crew.oracle.submit("run=1.5 steps=10") for _ in range(4)]
        crew.busy(worker)
        worker.signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        crew.replaced(name, worker)
    crew.oracle.check()
    rows = [crew.row(job, "state, attempt - handed_back") for job in jobs]
    assert set(rows) == {("succeeded", 1)}
    assert any(len(crew.starts(job)) > 1 for job in jobs), "nobody was in the middle of a job"


def test_a_child_that_is_told_to_end_hands_its_job_back(crew: Crew) -> None:
    """As when a service manager sends SIGTERM to a whole control group."""
    job = crew.oracle.submit("run=2 steps=20")
    crew.running(job).terminate()
    wait_until(lambda: crew.farm.column("handed_back", job), 10, crew.farm.logs)
    crew.oracle.check(repeats=1)
    assert crew.row(job, "attempt, handed_back") == (2, 1)


def test_control_and_beat_may_die_when_they_are_needed(crew: Crew) -> None:
    """A worker dies as well, so that somebody must take its job back."""
    job = crew.oracle.submit("run=1 steps=20")
    child = crew.running(job)
    for name in ("control", "beat"):
        for process in crew.farm.keeper.process(name).family():
            process.kill()
    child.kill()
    crew.oracle.check(repeats=1)
    assert crew.row(job, "attempt") == (2,)


def test_two_workers_share_a_backlog_and_load_the_model_once_each(crew: Crew) -> None:
    model = "flux-schnell"

    def counts(words: str) -> list[int]:
        return [worker.output().count(words) for worker in crew.workers]

    done, loaded = counts(" succeeded in "), counts(f"loaded {model} on ")
    jobs = [crew.oracle.submit("run=0.1", model=model) for _ in range(20)]
    crew.oracle.check(repeats=0)
    wait_until(lambda: sum(counts(" succeeded in ")) - sum(done) == len(jobs), 10, crew.farm.logs)
    shares = [now - before for now, before in zip(counts(" succeeded in "), done, strict=True)]
    assert min(shares) >= 5, shares
    again = zip(counts(f"loaded {model} on "), loaded, strict=True)
    assert all(now - before <= 1 for now, before in again)
