"""The queue in the database: one claim a job, leases, rings that nobody heard, depths."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from farm import jobs, settle, submit, views
from farm.jobs import LEGAL_MOVES
from farm.messages import Ring
from farm.services import Services, build_services
from farm.types import Claim, JobState
from tests import factories
from tests.farm.checks import assert_books_balance, run, scalar


@pytest.fixture
def who(services: Services) -> factories.Customer:
    """A customer with credits for many jobs."""
    return factories.customer(services, plan="pro")


def claim(services: Services, job_id: uuid.UUID, attempts_max: int = 3) -> Claim | None:
    """A try to claim."""
    return jobs.claim(services.db, job_id, "worker", 30.0, attempts_max)


def rung_ids(services: Services, after_s: float, limit: int = 500) -> list[uuid.UUID]:
    """The jobs that are due for a ring, now marked as rung."""
    return [ring.job_id for ring in jobs.due_for_ring(services.db, after_s, limit)]


def wait(services: Services, job_id: uuid.UUID, column: str, seconds: float) -> None:
    """Let that much time have passed since a job was queued or rung."""
    run(
        services,
        f"UPDATE jobs SET {column} = now() - make_interval(secs => :s) WHERE id = :id",
        s=seconds,
        id=job_id,
    )


def test_only_ended_states_have_no_way_on() -> None:
    assert set(LEGAL_MOVES) == set(JobState)
    assert {state for state in JobState if not LEGAL_MOVES[state]} == {
        state for state in JobState if state.is_terminal
    }
    assert {state for state in JobState if not state.is_terminal} == {
        JobState.QUEUED,
        JobState.RUNNING,
    }


def test_a_claim_says_all_that_a_worker_needs(services: Services, who: factories.Customer) -> None:
    accepted = submit.submit(services, who.principal, factories.request(seed=3, width=640))
    before = scalar(services, "SELECT now()")
    found = claim(services, accepted.job_id)
    assert found is not None
    assert (found.job_id, found.account_id) == (accepted.job_id, who.account_id)
    assert (found.model, found.operation, found.queue) == ("sdxl", "generate", "gpu.sdxl")
    assert (found.attempt, found.priority) == (1, accepted.priority)
    assert found.params == {"prompt": "a red circle", "seed": 3, "width": 640}
    assert timedelta(seconds=30) <= found.lease_until - before < timedelta(seconds=60)
    job = views.get_job(services.db, who.account_id, accepted.job_id)
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    assert scalar(services, "SELECT worker FROM jobs") == "worker"


def test_twenty_workers_with_the_same_messages_make_one_claim_a_job(
    services: Services, who: factories.Customer
) -> None:
    """More than fifty messages for each of three jobs."""
    made = [factories.submitted(services, who) for _ in range(3)]
    many = build_services(
        services.settings.model_copy(update={"db_pool_size": 20, "db_timeout_s": 30.0})
    )
    start = threading.Barrier(20)

    def worker(number: int) -> list[Claim]:
        start.wait(timeout=60)
        messages = [made[(number + n) % 3] for n in range(8)]
        found = [jobs.claim(many.db, job_id, f"w{number}", 30.0, 3) for job_id in messages]
        return [one for one in found if one is not None]

    with ThreadPoolExecutor(20) as pool:
        claims = [one for found in pool.map(worker, range(20)) for one in found]
    many.dispose()
    assert sorted(one.job_id for one in claims) == sorted(made)
    assert {one.attempt for one in claims} == {1}
    assert all(factories.succeed(services, one) for one in claims)
    assert_books_balance(services)


def test_what_is_not_there_to_be_taken_is_dropped(
    services: Services, who: factories.Customer
) -> None:
    assert claim(services, uuid.uuid4()) is None
    running = factories.claimed(services, factories.submitted(services, who))
    assert claim(services, running.job_id) is None
    assert factories.succeed(services, running)
    assert claim(services, running.job_id) is None
    assert scalar(services, "SELECT attempt FROM jobs") == 1


def test_a_lapsed_lease_is_taken_over_once_and_not_after_a_second_death(
    services: Services, who: factories.Customer
) -> None:
    job_id = factories.submitted(services, who)
    factories.abandoned(services, job_id)
    second = claim(services, job_id)
    assert second is not None
    assert second.attempt == 2
    assert claim(services, job_id) is None
    run(services, "UPDATE jobs SET lease_until = now() - interval '1 second'")
    # The job is the likely cause: it is the reaper's to end, and nobody's to run.
    assert claim(services, job_id, attempts_max=9) is None
    assert settle.reap(services.db, 9).rings == []
    job = views.get_job(services.db, who.account_id, job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_crash")
    assert_books_balance(services)


def test_attempts_are_counted_without_those_handed_back(
    services: Services, who: factories.Customer
) -> None:
    job_id = factories.submitted(services, who)
    for attempt in (1, 2):
        factories.claimed(services, job_id)
        assert jobs.hand_back(services.db, job_id, attempt)
    third = factories.claimed(services, job_id)
    assert third.attempt == 3
    assert factories.fail(services, third, retry=True) is JobState.QUEUED
    assert claim(services, job_id, attempts_max=1) is None
    assert claim(services, job_id, attempts_max=2) is not None


def test_a_heartbeat_renews_the_lease_of_its_own_attempt_only(
    services: Services, who: factories.Customer
) -> None:
    found = factories.claimed(services, factories.submitted(services, who))
    before = scalar(services, "SELECT lease_until FROM jobs")
    assert jobs.heartbeat(services.db, found.job_id, found.attempt, 90.0, 2, 30)
    renewed = scalar(services, "SELECT lease_until FROM jobs")
    assert renewed - before > timedelta(seconds=50)
    for job_id, attempt in ((found.job_id, 0), (found.job_id, 2), (uuid.uuid4(), 1)):
        assert not jobs.heartbeat(services.db, job_id, attempt, 900.0, 9, 9)
    assert scalar(services, "SELECT lease_until FROM jobs") == renewed
    assert scalar(services, "SELECT step FROM jobs") == 2


def test_a_heartbeat_of_a_lapsed_lease_that_nobody_took_renews_it(
    services: Services, who: factories.Customer
) -> None:
    found = factories.abandoned(services, factories.submitted(services, who))
    assert jobs.heartbeat(services.db, found.job_id, found.attempt, 30.0, 1, 2)
    assert settle.reap(services.db, 3).rings == []


def test_a_job_is_due_when_its_ring_is_old_and_is_then_marked(
    services: Services, who: factories.Customer
) -> None:
    job_id = factories.submitted(services, who)
    assert rung_ids(services, 30) == []
    wait(services, job_id, "rung_at", 29)
    assert rung_ids(services, 30) == []
    wait(services, job_id, "rung_at", 31)
    assert jobs.due_for_ring(services.db, 30) == [Ring(job_id, "gpu.sdxl", 3)]
    assert rung_ids(services, 30) == []


def test_a_job_handed_back_is_due_at_once_and_one_that_runs_never(
    services: Services, who: factories.Customer
) -> None:
    job_id = factories.submitted(services, who)
    found = factories.claimed(services, job_id)
    wait(services, job_id, "rung_at", 3600)
    assert rung_ids(services, 30) == []
    jobs.hand_back(services.db, job_id, found.attempt)
    assert rung_ids(services, 30) == [job_id]
    settle.cancel(services.db, None, job_id)
    wait(services, job_id, "rung_at", 3600)
    assert rung_ids(services, 30) == []


def test_a_round_of_rings_takes_the_longest_unheard_up_to_its_limit(
    services: Services, who: factories.Customer
) -> None:
    made = [factories.submitted(services, who) for _ in range(5)]
    for number, job_id in enumerate(made):
        wait(services, job_id, "rung_at", 100 - number)
    assert set(rung_ids(services, 30, limit=2)) == set(made[:2])
    assert set(rung_ids(services, 30, limit=2)) == set(made[2:4])
    assert rung_ids(services, 30, limit=2) == made[4:]
    assert rung_ids(services, 30) == []


def test_callers_at_once_share_the_rings(services: Services, who: factories.Customer) -> None:
    made = [factories.submitted(services, who) for _ in range(40)]
    run(services, "UPDATE jobs SET rung_at = NULL")
    start = threading.Barrier(4)

    def sweeper(_: int) -> list[uuid.UUID]:
        start.wait(timeout=60)
        return rung_ids(services, 30)

    with ThreadPoolExecutor(4) as pool:
        rung = [job_id for found in pool.map(sweeper, range(4)) for job_id in found]
    rung += rung_ids(services, 30)
    assert sorted(rung) == sorted(made)


def test_a_caller_does_not_wait_for_another(services: Services, who: factories.Customer) -> None:
    made = [factories.submitted(services, who) for _ in range(2)]
    run(services, "UPDATE jobs SET rung_at = NULL")
    with services.db.transaction() as busy:
        busy.exec_driver_sql(f"SELECT id FROM jobs WHERE id = '{made[0]}' FOR UPDATE")
        assert rung_ids(services, 30) == [made[1]]
    assert rung_ids(services, 30) == [made[0]]


def test_the_oldest_wait_of_each_queue_that_has_one(
    services: Services, who: factories.Customer
) -> None:
    old, young, running = (factories.submitted(services, who) for _ in range(3))
    flux = submit.submit(services, who.principal, factories.request("flux-schnell")).job_id
    wait(services, old, "queued_at", 500)
    wait(services, young, "queued_at", 50)
    wait(services, running, "queued_at", 5000)
    wait(services, flux, "queued_at", 5)
    factories.claimed(services, running)
    queues = ["gpu.sdxl", "gpu.flux-schnell", "gpu.none"]
    waits = jobs.oldest_wait(services.db, queues)
    assert set(waits) == {"gpu.sdxl", "gpu.flux-schnell"}
    assert 500 <= waits["gpu.sdxl"] < 600
    assert 5 <= waits["gpu.flux-schnell"] < 50
    assert set(jobs.oldest_wait(services.db, ["gpu.flux-schnell"])) == {"gpu.flux-schnell"}
    assert jobs.oldest_wait(services.db, []) == {}


def test_the_depths_count_live_jobs_by_queue_and_state(
    services: Services, who: factories.Customer
) -> None:
    assert jobs.depths(services.db) == {}
    for _ in range(3):
        factories.submitted(services, who)
    factories.claimed(services, factories.submitted(services, who))
    settle.cancel(services.db, None, factories.submitted(services, who))
    submit.submit(services, who.principal, factories.request("flux-schnell"))
    assert jobs.depths(services.db) == {
        ("gpu.sdxl", JobState.QUEUED): 3,
        ("gpu.sdxl", JobState.RUNNING): 1,
        ("gpu.flux-schnell", JobState.QUEUED): 1,
    }
