"""The way in: a hold, a job and its answer, or nothing at all."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from farm import accounts, keys, ledger, submit, views
from farm.errors import (
    DatabaseUnavailable,
    Forbidden,
    IdempotencyInFlight,
    IdempotencyMismatch,
    InsufficientCredits,
    InvalidRequest,
    Unauthenticated,
)
from farm.services import Services, build_services
from farm.types import AccountStatus, Idempotency, JobState
from tests import factories
from tests.farm.checks import amounts, assert_books_balance, run, scalar


def test_a_submit_holds_the_price_and_writes_the_job(services: Services) -> None:
    who = factories.customer(services)
    accepted = submit.submit(services, who.principal, factories.request(width=640))

    assert accepted.state is JobState.QUEUED
    assert accepted.queue == "gpu.sdxl"
    assert accepted.price_tenths == 30
    assert amounts(services, who.account_id) == (100, 30, 100)
    job = views.get_job(services.db, who.account_id, accepted.job_id)
    assert job.params["width"] == 640
    assert 0 <= job.params["seed"] < 2**32
    assert job.credits_tenths == 30
    assert_books_balance(services)


def test_a_given_seed_is_kept(services: Services) -> None:
    who = factories.customer(services)
    accepted = submit.submit(services, who.principal, factories.request(seed=0))
    assert views.get_job(services.db, who.account_id, accepted.job_id).params["seed"] == 0


def test_what_does_not_fit_into_the_balance_is_refused_and_writes_nothing(
    services: Services,
) -> None:
    who = factories.customer(services)
    for _ in range(3):
        factories.submitted(services, who)
    with pytest.raises(InsufficientCredits) as caught:
        factories.submitted(services, who)
    assert (caught.value.required_tenths, caught.value.available_tenths) == (30, 10)
    assert scalar(services, "SELECT count(*) FROM jobs") == 3
    assert amounts(services, who.account_id) == (100, 90, 100)
    assert_books_balance(services)


def test_64_clients_race_for_credit_for_ten_jobs(services: Services) -> None:
    who = factories.customer(services, extra_credits=20)
    start = threading.Barrier(64)
    settings = services.settings.model_copy(update={"db_pool_size": 64, "db_timeout_s": 30.0})
    many = build_services(settings)

    def client(_: int) -> bool:
        start.wait(timeout=60)
        try:
            submit.submit(many, who.principal, factories.request())
        except InsufficientCredits:
            return False
        return True

    with ThreadPoolExecutor(64) as pool:
        accepted = list(pool.map(client, range(64)))
    many.dispose()

    assert accepted.count(True) == 10
    assert accepted.count(False) == 54
    assert amounts(services, who.account_id) == (300, 300, 100)
    assert_books_balance(services)


def test_a_blocked_account_submits_nothing(services: Services) -> None:
    who = factories.customer(services)
    with services.db.transaction() as connection:
        accounts.set_status(connection, who.account_id, AccountStatus.BLOCKED)
    with pytest.raises(Forbidden, match="blocked"):
        factories.submitted(services, who)


def test_a_key_revoked_a_moment_ago_submits_nothing(services: Services) -> None:
    who = factories.customer(services)
    with services.db.transaction() as connection:
        keys.revoke_key(connection, who.principal.key_id)
    with pytest.raises(Unauthenticated, match="revoked"):
        factories.submitted(services, who)


def test_an_unknown_model_is_refused_by_name(services: Services) -> None:
    who = factories.customer(services)
    with pytest.raises(InvalidRequest, match="model"):
        submit.submit(services, who.principal, factories.request(model="dall-e"))


@pytest.mark.parametrize(
    "prompt", ["child porn", "CHILD\nPORN", "ｃｈｉｌｄ ｐ0rn", "chi\u200bld pórn"]
)
def test_a_refused_prompt_is_blocked_and_costs_nothing(services: Services, prompt: str) -> None:
    who = factories.customer(services)
    refused = submit.submit(services, who.principal, factories.request(prompt=prompt))

    assert refused.state is JobState.BLOCKED
    assert refused.price_tenths == 0
    job = views.get_job(services.db, who.account_id, refused.job_id)
    assert job.state is JobState.BLOCKED
    assert job.error_code == "prompt_refused"
    assert "content policy" in (job.error_message or "")
    assert job.credits_tenths == 0
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_a_refused_prompt_needs_credit_and_keeps_its_idempotency_key(services: Services) -> None:
    who = factories.customer(services)
    once = Idempotency("k", b"\1" * 32)
    bad = factories.request(prompt="child porn")
    first = submit.submit(services, who.principal, bad, once)
    again = submit.submit(services, who.principal, bad, once)
    assert (again.job_id, again.state, again.price_tenths) == (first.job_id, JobState.BLOCKED, 0)
    assert again.replayed


def test_the_same_key_and_body_give_the_same_job_even_without_credit(services: Services) -> None:
    who = factories.customer(services)
    first = factories.submitted(services, who, key="order-1")
    factories.submitted(services, who)
    factories.submitted(services, who)
    assert factories.submitted(services, who, key="order-1") == first
    assert scalar(services, "SELECT count(*) FROM jobs") == 3
    assert_books_balance(services)


def test_the_first_answer_is_given_again_after_the_job_has_ended(services: Services) -> None:
    who = factories.customer(services)
    once = Idempotency("k", b"\1" * 32)
    first = submit.submit(services, who.principal, factories.request(), once)
    factories.fail(services, factories.claimed(services, first.job_id))
    again = submit.submit(services, who.principal, factories.request(), once)
    assert again.job_id == first.job_id
    assert (again.state, again.price_tenths) == (first.state, first.price_tenths)


def test_the_same_key_with_another_body_is_refused(services: Services) -> None:
    who = factories.customer(services)
    factories.submitted(services, who, key="order-1")
    with pytest.raises(IdempotencyMismatch):
        factories.submitted(services, who, key="order-1", body=b"\2" * 32)


def test_two_accounts_may_use_the_same_key(services: Services) -> None:
    one, other = factories.customer(services), factories.customer(services)
    assert factories.submitted(services, one, key="k") != factories.submitted(
        services, other, key="k"
    )


def test_a_key_is_forgotten_after_a_day(services: Services) -> None:
    who = factories.customer(services)
    first = factories.submitted(services, who, key="k")
    run(services, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    second = factories.submitted(services, who, key="k", body=b"\2" * 32)
    assert second != first
    run(services, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert submit.forget_old_keys(services.db) == 1
    assert submit.forget_old_keys(services.db) == 0
    assert_books_balance(services)


def test_twenty_clients_with_one_key_make_one_job(services: Services) -> None:
    who = factories.customer(services)
    start = threading.Barrier(20)

    def client(_: int) -> uuid.UUID:
        start.wait(timeout=60)
        return factories.submitted(services, who, key="one")

    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(client, range(20)))
    assert len(ids) == 1
    assert amounts(services, who.account_id) == (100, 30, 100)
    assert_books_balance(services)


def test_a_first_request_that_hangs_makes_the_second_wait_and_then_say_so(
    services: Services,
) -> None:
    """The account's row is locked as by a first request that is stuck in its statement."""
    who = factories.customer(services)
    hasty = build_services(services.settings.model_copy(update={"db_timeout_s": 0.3}))
    once = Idempotency("k", b"\1" * 32)
    with services.db.transaction() as connection:
        accounts.set_status(connection, who.account_id, AccountStatus.ACTIVE)
        with pytest.raises(IdempotencyInFlight, match="few seconds"):
            submit.submit(hasty, who.principal, factories.request(), once)
        with pytest.raises(DatabaseUnavailable):
            submit.submit(hasty, who.principal, factories.request())
    hasty.dispose()
    assert scalar(services, "SELECT count(*) FROM jobs") == 0


def test_a_connection_that_died_in_the_pool_is_replaced_unseen(services: Services) -> None:
    who = factories.customer(services)
    factories.submitted(services, who)
    with services.db.engine.connect() as other:
        other.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    factories.submitted(services, who)
    assert amounts(services, who.account_id) == (100, 60, 100)
    assert_books_balance(services)


@pytest.mark.parametrize("key", [None, "a-key"])
def test_a_try_that_took_the_last_credits_and_whose_answer_was_lost_is_not_refused(
    services: Services, key: str | None
) -> None:
    who, job_id = factories.customer(services), uuid.uuid4()
    leave = amounts(services, who.account_id)[0] - 30
    with services.db.transaction() as connection:
        ledger.grant(connection, who.account_id, -leave, reason="all but one job's", kind="adjust")
    idempotency = Idempotency(key, b"\1" * 32) if key else None
    for _ in range(2):
        found = submit.submit(
            services, who.principal, factories.request(), idempotency, new_id=lambda: job_id
        )
        assert (found.job_id, found.state) == (job_id, JobState.QUEUED)
    assert amounts(services, who.account_id)[:2] == (30, 30)
    assert_books_balance(services)
