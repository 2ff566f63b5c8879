"""The read side: what its owner sees of a job, and nobody else."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from farm import jobs, settle, submit, views
from farm.errors import NotFound
from farm.services import Services
from farm.types import JobRequest, JobState
from tests import factories
from tests.farm.checks import run, scalar


def age(services: Services, job_id: uuid.UUID, **since: int) -> None:
    """Let a job be older: ``days=2``."""
    run(
        services,
        "UPDATE jobs SET created_at = created_at - CAST(:age AS interval) WHERE id = :id",
        age=str(timedelta(**since)),
        id=job_id,
    )


def ids(found: list[views.JobView]) -> list[uuid.UUID]:
    """The jobs' ids, in order."""
    return [job.id for job in found]


def test_a_queued_job_as_its_owner_sees_it(services: Services) -> None:
    who = factories.customer(services)
    asked = JobRequest(
        "flux-schnell", "generate", {"prompt": "Füchse 🦊", "seed": 5}, ("a warning",)
    )
    accepted = submit.submit(services, who.principal, asked)
    job = views.get_job(services.db, who.account_id, accepted.job_id)
    assert job == views.JobView(
        id=accepted.job_id,
        account_id=who.account_id,
        storefront="pixelapi",
        model="flux-schnell",
        operation="generate",
        state=JobState.QUEUED,
        price_tenths=30,
        price_rule="flux-schnell: 3",
        created_at=accepted.created_at,
        started_at=None,
        finished_at=None,
        attempt=0,
        step=0,
        steps=0,
        params={"prompt": "Füchse 🦊", "seed": 5},
        facts={},
        error_code=None,
        error_message=None,
        output_path=None,
        output_expires_at=None,
        processing_ms=None,
        served_by=None,
        warnings=("a warning",),
        freed_at=None,
        seq=1,
        batch_id=accepted.job_id,
        batch_place=0,
        batch_size=1,
        sold_as="",
        about={},
    )
    assert type(job.id) is type(job.account_id) is uuid.UUID
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_running_job_shows_how_far_it_is(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    jobs.heartbeat(services.db, claim.job_id, claim.attempt, 30, 7, 20)
    job = views.get_job(services.db, who.account_id, claim.job_id)
    assert (job.state, job.attempt, job.step, job.steps) == (JobState.RUNNING, 1, 7, 20)
    assert job.started_at is not None
    assert job.finished_at is None


def test_a_finished_job_shows_its_output_what_made_it_and_what_it_cost(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    output = factories.stored(services, claim)
    settle.succeed(
        services.db,
        claim,
        output,
        facts={"seed": 2**32 - 1},
        served_by="gpu-1",
        processing_ms=1234,
        ttl_s=86_400,
    )
    job = views.get_job(services.db, who.account_id, claim.job_id)
    assert job.output_path == output.public_path
    assert job.finished_at is not None
    assert job.output_expires_at == job.finished_at + timedelta(days=1)
    assert (job.served_by, job.processing_ms) == ("gpu-1", 1234)
    assert job.facts == {"seed": 2**32 - 1}
    found = views.find_output(services.db, output.public_path)
    assert found == views.OutputView(
        output.key, "image/png", len(b"picture"), output.sha256, job.output_expires_at
    )


def test_a_job_costs_its_price_while_it_lives_and_when_it_succeeded(services: Services) -> None:
    who = factories.customer(services, extra_credits=50)
    ends: list[tuple[Callable[[factories.Claim], object], JobState, int]] = [
        (lambda claim: None, JobState.RUNNING, 30),
        (lambda claim: factories.succeed(services, claim), JobState.SUCCEEDED, 30),
        (lambda claim: factories.fail(services, claim), JobState.FAILED, 0),
        (lambda claim: settle.cancel(services.db, None, claim.job_id), JobState.CANCELLED, 0),
    ]
    for end, state, credits in ends:
        claim = factories.claimed(services, factories.submitted(services, who))
        end(claim)
        job = views.get_job(services.db, who.account_id, claim.job_id)
        assert (job.state, job.credits_tenths, job.price_tenths) == (state, credits, 30)


def test_another_accounts_job_is_not_found_and_neither_is_an_unknown_one(
    services: Services,
) -> None:
    one, other = factories.customer(services), factories.customer(services)
    job_id = factories.submitted(services, one)
    for account_id, wanted in (
        (other.account_id, job_id),
        (one.account_id, uuid.uuid4()),
        (job_id, job_id),
    ):
        with pytest.raises(NotFound):
            views.get_job(services.db, account_id, wanted)
    assert views.get_job(services.db, one.account_id, job_id).id == job_id
    assert views.list_jobs(services.db, other.account_id, limit=9, days=9) == ([], 0)


def test_an_operator_finds_any_job(services: Services) -> None:
    job_id = factories.submitted(services, factories.customer(services))
    assert views.find_job(services.db, job_id).id == job_id
    with pytest.raises(NotFound):
        views.find_job(services.db, uuid.uuid4())


def test_jobs_are_listed_newest_first_within_the_days_with_their_number(
    services: Services,
) -> None:
    who, other = factories.customer(services, extra_credits=50), factories.customer(services)
    made = [factories.submitted(services, who) for _ in range(5)]
    factories.submitted(services, other)
    for days, job_id in enumerate(made):
        age(services, job_id, days=days, minutes=1)
    found, total = views.list_jobs(services.db, who.account_id, limit=20, days=30)
    assert (ids(found), total) == (made, 5)
    found, total = views.list_jobs(services.db, who.account_id, limit=2, days=30)
    assert (ids(found), total) == (made[:2], 5)
    found, total = views.list_jobs(services.db, who.account_id, limit=20, days=3)
    assert (ids(found), total) == (made[:3], 3)
    assert found[0] == views.get_job(services.db, who.account_id, made[0])
    age(services, made[0], days=40)
    assert views.list_jobs(services.db, who.account_id, limit=20, days=1) == ([], 0)


def test_an_operator_sees_the_newest_jobs_of_everybody_and_of_one_state(
    services: Services,
) -> None:
    one, other = factories.customer(services), factories.customer(services)
    made = [factories.submitted(services, who) for who in (one, other, one)]
    for minutes, job_id in enumerate(made, 1):
        age(services, job_id, minutes=minutes)
    settle.cancel(services.db, None, made[1])
    assert ids(views.recent_jobs(services.db, limit=9)) == made
    assert ids(views.recent_jobs(services.db, limit=2)) == made[:2]
    queued = views.recent_jobs(services.db, limit=9, state=JobState.QUEUED)
    assert ids(queued) == [made[0], made[2]]
    assert views.recent_jobs(services.db, limit=9, state=JobState.EXPIRED) == []


def test_an_output_is_shown_until_its_last_second_and_not_after(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, claim)
    path = views.get_job(services.db, who.account_id, claim.job_id).output_path
    assert path is not None
    run(services, "UPDATE jobs SET output_expires_at = now()")

    after = views.get_job(services.db, who.account_id, claim.job_id)
    assert after.output_path is None
    assert after.state is JobState.SUCCEEDED
    [listed], _ = views.list_jobs(services.db, who.account_id, limit=1, days=1)
    assert listed.output_path is None
    assert views.recent_jobs(services.db, limit=1)[0].output_path is None
    with pytest.raises(NotFound):
        views.find_output(services.db, path)


def test_a_deleted_output_is_not_shown_even_before_its_expiry(services: Services) -> None:
    who = factories.customer(services)
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, claim)
    path = scalar(services, "SELECT output_path FROM jobs")
    run(services, "UPDATE jobs SET output_deleted_at = now()")
    assert views.get_job(services.db, who.account_id, claim.job_id).output_path is None
    with pytest.raises(NotFound):
        views.find_output(services.db, path)


def test_a_path_that_is_not_known_is_not_found(services: Services) -> None:
    claim = factories.claimed(services, factories.submitted(services, factories.customer(services)))
    assert factories.succeed(services, claim)
    path = scalar(services, "SELECT output_path FROM jobs")
    for unknown in ("", "%", path.upper(), f"/{path}", path[:-1], f"{path}/", "ü"):
        with pytest.raises(NotFound):
            views.find_output(services.db, unknown)


def test_the_balance_and_all_that_is_held(services: Services) -> None:
    one, other = factories.customer(services), factories.customer(services)
    assert views.held_tenths(services.db) == 0
    factories.submitted(services, one)
    ended = factories.submitted(services, other)
    assert views.held_tenths(services.db) == 60
    settle.cancel(services.db, None, ended)
    assert views.held_tenths(services.db) == 30
    account = views.balance(services.db, one.account_id)
    assert (account.posted_tenths, account.held_tenths, account.available_tenths) == (100, 30, 70)
    assert account.email == one.email
    with pytest.raises(NotFound):
        views.balance(services.db, uuid.uuid4())


def test_reading_survives_a_connection_that_died_in_the_pool(services: Services) -> None:
    who = factories.customer(services)
    job_id = factories.submitted(services, who)
    reads: list[Callable[[], object]] = [
        lambda: views.get_job(services.db, who.account_id, job_id),
        lambda: views.list_jobs(services.db, who.account_id, limit=1, days=1),
        lambda: views.balance(services.db, who.account_id),
    ]
    for read in reads:
        before = read()
        with services.db.engine.connect() as other:
            other.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            other.invalidate()
        assert read() == before
