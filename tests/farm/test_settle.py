"""The way out: charged exactly when it succeeded, once, by the attempt that owns the job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from farm import jobs, settle, views
from farm.errors import DatabaseUnavailable, NotFound
from farm.services import Services, build_services
from farm.types import JobState
from tests import factories
from tests.farm.checks import amounts, assert_books_balance, run, scalar
from tests.processes import wait_until


def test_success_charges_once_and_shows_the_output(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, claim)

    job = views.get_job(services.db, who.account_id, claim.job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.facts == {"seed": 7}
    assert (job.served_by, job.processing_ms, job.credits_tenths) == ("test", 12, 30)
    assert job.output_path is not None
    found = views.find_output(services.db, job.output_path)
    with services.storage.open(found.key) as file:
        assert file.read() == b"picture"
    assert amounts(services, who.account_id) == (70, 0, 70)
    assert_books_balance(services)


def test_settling_again_after_a_lost_answer_is_true_and_charges_nothing_more(
    services: Services,
) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    output = factories.stored(services, claim)
    for _ in range(2):
        assert settle.succeed(
            services.db, claim, output, facts={}, served_by="t", processing_ms=1, ttl_s=60
        )
    assert amounts(services, who.account_id) == (70, 0, 70)
    assert_books_balance(services)


def test_bought_credits_are_spent_after_the_monthly_grant(services: Services) -> None:
    who = factories.customer(services, extra_credits=5)
    for posted, grant_left in ((120, 70), (90, 40), (60, 10), (30, 0), (0, 0)):
        claim = factories.claimed(services, factories.submitted(services, who))
        assert factories.succeed(services, claim)
        assert amounts(services, who.account_id) == (posted, 0, grant_left)
    assert_books_balance(services)


def test_a_wrong_request_fails_at_once_and_gives_the_hold_back(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.fail(services, claim, retry=False) is JobState.FAILED
    job = views.get_job(services.db, who.account_id, claim.job_id)
    assert (job.error_code, job.error_message) == ("engine_failed", "It broke.")
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_a_broken_attempt_is_tried_three_times_in_all(services: Services) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    states = [
        factories.fail(services, factories.claimed(services, job_id), retry=True) for _ in range(3)
    ]
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert jobs.claim(services.db, job_id, "w", 30, 3) is None
    assert_books_balance(services)


def test_out_of_memory_is_retried_once(services: Services) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    code = "gpu_out_of_memory"
    first = factories.fail(services, factories.claimed(services, job_id), retry=True, code=code)
    second = factories.fail(services, factories.claimed(services, job_id), retry=True, code=code)
    assert (first, second) == (JobState.QUEUED, JobState.FAILED)
    assert_books_balance(services)


def test_the_reaper_requeues_a_dead_workers_job_once_then_calls_it_poison(
    services: Services,
) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    factories.abandoned(services, job_id)
    assert [ring.job_id for ring in settle.reap(services.db, 3).rings] == [job_id]
    factories.abandoned(services, job_id)
    assert settle.reap(services.db, 3).rings == []

    job = views.get_job(services.db, who.account_id, job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_crash")
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_a_death_between_orderly_attempts_is_not_counted_in_a_row(services: Services) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    factories.abandoned(services, job_id)
    settle.reap(services.db, 9)
    assert factories.fail(services, factories.claimed(services, job_id), retry=True) is (
        JobState.QUEUED
    )
    factories.abandoned(services, job_id)
    assert len(settle.reap(services.db, 9).rings) == 1


def test_a_live_lease_is_left_alone(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert settle.reap(services.db, 3).rings == []
    assert jobs.heartbeat(services.db, claim.job_id, claim.attempt, 30, 3, 30)
    job = views.get_job(services.db, who.account_id, claim.job_id)
    assert (job.step, job.steps) == (3, 30)


def test_two_reapers_share_the_work(services: Services) -> None:
    who = factories.customer(services, extra_credits=100)
    ids = {factories.submitted(services, who) for _ in range(20)}
    for job_id in ids:
        factories.abandoned(services, job_id)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: settle.reap(services.db, 3), range(2)))
    rung = [ring.job_id for reaped in found for ring in reaped.rings]
    assert sorted(rung, key=str) == sorted(ids, key=str)
    assert_books_balance(services)


def test_a_job_that_waited_too_long_expires_and_costs_nothing(services: Services) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    assert settle.expire_queued(services.db, 3600) == []
    run(services, "UPDATE jobs SET queued_at = now() - interval '2 hours'")
    assert len(settle.expire_queued(services.db, 3600)) == 1
    job = views.get_job(services.db, who.account_id, job_id)
    assert (job.state, job.error_code) == (JobState.EXPIRED, "expired")
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


@pytest.mark.parametrize("sweep", ["expire", "reap"])
def test_sweeps_lock_accounts_in_one_order_so_that_two_never_wait_for_each_other(
    services: Services, sweep: str
) -> None:
    first, second = sorted(
        (factories.customer(services) for _ in range(2)), key=lambda who: who.account_id
    )
    # The later account's job is the one that has been due for longer.
    for who, due_s in ((second, 20), (first, 10)):
        job_id = factories.submitted(services, who)
        due = "queued_at"
        if sweep == "reap":
            factories.claimed(services, job_id)
            due = "deaths = 1, lease_until"
        ago = f"now() - interval '{due_s} seconds'"
        run(services, f"UPDATE jobs SET {due} = {ago} WHERE id = :id", id=job_id)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    waits += " AND datname = current_database()"
    lock = text("SELECT 1 FROM accounts WHERE id = :id FOR UPDATE NOWAIT")

    def swept() -> int:
        if sweep == "expire":
            return len(settle.expire_queued(services.db, 5.0))
        return len(settle.reap(services.db, 3).ended)

    with ThreadPoolExecutor(1) as pool:
        with services.db.transaction() as connection:
            connection.execute(lock, {"id": first.account_id})
            ended = pool.submit(swept)
            wait_until(lambda: scalar(services, waits), 4.0, "the sweep waits for the account")
            connection.execute(lock, {"id": second.account_id})
        assert ended.result() == 2
    assert_books_balance(services)


def test_cancelling_a_queued_job_gives_the_hold_back_and_it_never_starts(
    services: Services,
) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    assert settle.cancel(services.db, who.account_id, job_id) is JobState.CANCELLED
    assert settle.cancel(services.db, who.account_id, job_id) is JobState.CANCELLED
    assert jobs.claim(services.db, job_id, "w", 30, 3) is None
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_cancelling_a_running_job_stops_its_heartbeat_and_its_settle(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert settle.cancel(services.db, None, claim.job_id) is JobState.CANCELLED
    assert not jobs.heartbeat(services.db, claim.job_id, claim.attempt, 30, 1, 2)
    assert not factories.succeed(services, claim)
    assert_books_balance(services)


def test_another_accounts_job_cannot_be_cancelled(services: Services) -> None:
    one, other = factories.customer(services), factories.customer(services)
    job_id = factories.submitted(services, one)
    with pytest.raises(NotFound):
        settle.cancel(services.db, other.account_id, job_id)
    assert views.get_job(services.db, one.account_id, job_id).state is JobState.QUEUED


def test_a_database_that_stays_away_is_given_up_on_within_the_patience(
    services: Services,
) -> None:
    """A lock that nobody gives up stands for a database that does not answer."""
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    output = factories.stored(services, claim)
    hasty = build_services(services.settings.model_copy(update={"db_timeout_s": 0.2}))
    with services.db.transaction() as holder:
        holder.exec_driver_sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable):
            settle.succeed(
                hasty.db,
                claim,
                output,
                facts={},
                served_by="t",
                processing_ms=1,
                ttl_s=60,
                patience_s=0.1,
            )
    hasty.dispose()
    assert factories.succeed(services, claim)
    assert_books_balance(services)


def test_handing_back_does_not_count_the_attempt(services: Services) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    for number in range(1, 6):
        claim = factories.claimed(services, job_id)
        assert claim.attempt == number
        assert jobs.hand_back(services.db, job_id, claim.attempt)
        assert not jobs.hand_back(services.db, job_id, claim.attempt)
        assert [ring.job_id for ring in jobs.due_for_ring(services.db, 30)] == [job_id]
    assert factories.succeed(services, factories.claimed(services, job_id))
    assert_books_balance(services)
