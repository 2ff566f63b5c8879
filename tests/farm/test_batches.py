"""Several jobs of one request: all of them or none, each its own job from then on."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from farm import settle, submit, views
from farm.batches import submit_batch
from farm.errors import (
    IdempotencyMismatch,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    PromptRefused,
    Unauthenticated,
)
from farm.services import Services, build_services
from farm.types import Idempotency, JobRequest, JobState
from tests import factories
from tests.farm.checks import amounts, assert_books_balance, run, scalar
from tests.processes import wait_until

FOUR = [factories.request(seed=seed) for seed in range(4)]


def test_a_batch_is_held_for_together_and_its_jobs_follow_each_other(services: Services) -> None:
    who = factories.customer(services, extra_credits=10)
    factories.submitted(services, who)
    batch = submit_batch(services, who.principal, FOUR)

    assert batch.price_tenths == 120
    assert amounts(services, who.account_id) == (200, 150, 100)
    jobs = views.get_batch(services.db, who.account_id, batch.id)
    assert [job.id for job in jobs] == [job.job_id for job in batch.jobs]
    assert [job.seq for job in jobs] == [2, 3, 4, 5]
    assert [(job.batch_id, job.batch_place, job.batch_size) for job in jobs] == [
        (batch.id, place, 4) for place in range(4)
    ]
    assert [job.params["seed"] for job in jobs] == [0, 1, 2, 3]
    assert [ring.job_id for ring in batch.rings] == [job.id for job in jobs]
    assert_books_balance(services)


def test_each_job_of_a_batch_is_charged_on_its_own_success(services: Services) -> None:
    who = factories.customer(services, extra_credits=10)
    batch = submit_batch(services, who.principal, FOUR)
    succeeded, failed, cancelled, _ = (job.job_id for job in batch.jobs)
    factories.succeed(services, factories.claimed(services, succeeded))
    factories.fail(services, factories.claimed(services, failed))
    settle.cancel(services.db, who.account_id, cancelled)
    assert amounts(services, who.account_id) == (170, 30, 70)
    assert_books_balance(services)


def test_what_is_affordable_only_in_part_is_refused_as_a_whole(services: Services) -> None:
    who = factories.customer(services)
    with pytest.raises(InsufficientCredits) as caught:
        submit_batch(services, who.principal, FOUR)
    assert (caught.value.required_tenths, caught.value.available_tenths) == (120, 100)
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert scalar(services, "SELECT count(*) FROM jobs") == 0
    assert scalar(services, "SELECT jobs_made FROM accounts") == 0
    assert_books_balance(services)


def test_pictures_of_a_refused_batch_are_not_kept(services: Services, tmp_path: Path) -> None:
    who = factories.customer(services)
    edits = [factories.edit(image=factories.picture()) for _ in range(3)]
    with pytest.raises(InsufficientCredits):
        submit_batch(services, who.principal, edits)
    kept = [path for path in (tmp_path / "data" / "storage").rglob("*") if path.is_file()]
    assert kept == []
    batch = submit_batch(services, who.principal, edits[:2])
    assert scalar(services, "SELECT count(*) FROM inputs") == 2
    assert len(batch.rings) == 2
    assert_books_balance(services)


def test_refused_words_write_nothing(services: Services) -> None:
    who = factories.customer(services)
    refused = JobRequest("sdxl", "generate", {"prompt": "child porn"})
    with pytest.raises(PromptRefused):
        submit_batch(services, who.principal, [factories.request(), refused])
    with pytest.raises(PromptRefused):
        submit_batch(services, who.principal, [refused])
    assert scalar(services, "SELECT count(*) FROM jobs") == 0
    assert amounts(services, who.account_id) == (100, 0, 100)


def test_a_model_that_is_not_sold_refuses_the_whole_batch(services: Services) -> None:
    who = factories.customer(services)
    with pytest.raises(InvalidRequest, match="not sold here"):
        submit_batch(services, who.principal, [factories.request(), factories.request("flux-2")])
    assert scalar(services, "SELECT count(*) FROM jobs") == 0


def test_a_revoked_key_submits_no_batch(services: Services) -> None:
    who = factories.customer(services, extra_credits=10)
    run(services, "UPDATE api_keys SET revoked_at = now()")
    with pytest.raises(Unauthenticated):
        submit_batch(services, who.principal, FOUR)
    assert scalar(services, "SELECT count(*) FROM jobs") == 0


@pytest.mark.parametrize("size", [1, 3])
def test_the_same_key_gives_the_same_batch(services: Services, size: int) -> None:
    who = factories.customer(services, extra_credits=10)
    key = Idempotency("once", b"\1" * 32)
    first = submit_batch(services, who.principal, FOUR[:size], key)
    again = submit_batch(services, who.principal, FOUR[:size], key)
    assert not first.replayed
    assert again.replayed
    assert [job.job_id for job in again.jobs] == [job.job_id for job in first.jobs]
    assert (again.price_tenths, again.rings) == (first.price_tenths, ())
    with pytest.raises(IdempotencyMismatch):
        submit_batch(services, who.principal, FOUR, Idempotency("once", b"\2" * 32))
    run(services, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert submit_batch(services, who.principal, FOUR[:size], key).id != first.id
    assert_books_balance(services)


def test_requests_with_one_key_at_once_make_one_batch(services: Services) -> None:
    who = factories.customer(services, extra_credits=100)
    many = build_services(services.settings.model_copy(update={"db_timeout_s": 30.0}))
    start = threading.Barrier(8)

    def client(_: int) -> uuid.UUID:
        start.wait(timeout=60)
        return submit_batch(many, who.principal, FOUR, Idempotency("once", b"\1" * 32)).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(client, range(8)))
    many.dispose()
    assert len(ids) == 1
    assert scalar(services, "SELECT count(*) FROM jobs") == 4
    assert_books_balance(services)


class SlowCommit:
    """A database whose transactions are committed when the gate opens."""

    def __init__(self, services: Services) -> None:
        self._db = services.db
        self.gate = threading.Event()
        self.is_written = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As a database's own."""
        with self._db.transaction() as connection:
            yield connection
            self.is_written.set()
            assert self.gate.wait(20)


@pytest.mark.parametrize("spare_credits", [0, 10])
def test_a_try_whose_commit_is_on_its_way_is_found_by_the_next(
    services: Services, spare_credits: int
) -> None:
    who = factories.customer(services, extra_credits=2 + spare_credits)
    slow = SlowCommit(services)
    ids = [uuid.uuid4() for _ in FOUR]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(
            submit_batch,
            replace(services, db=slow),  # type: ignore[arg-type]
            who.principal,
            FOUR,
            new_id=iter(ids).__next__,
        )
        assert slow.is_written.wait(20)
        again = pool.submit(submit_batch, services, who.principal, FOUR, new_id=iter(ids).__next__)
        wait_until(lambda: scalar(services, _BLOCKED), 20, "the second try does not wait")
        slow.gate.set()
        assert [job.job_id for job in again.result(20).jobs] == ids
        assert [job.job_id for job in first.result(20).jobs] == ids
    assert scalar(services, "SELECT count(*) FROM jobs") == 4
    assert_books_balance(services)


_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def test_batches_that_race_for_the_last_credits_leave_no_half(services: Services) -> None:
    who = factories.customer(services, extra_credits=50)  # for five batches of 12
    settings = services.settings.model_copy(update={"db_pool_size": 16, "db_timeout_s": 30.0})
    many = build_services(settings)
    start = threading.Barrier(16)

    def client(_: int) -> bool:
        start.wait(timeout=60)
        try:
            submit_batch(many, who.principal, FOUR)
        except InsufficientCredits:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        accepted = list(pool.map(client, range(16)))
    many.dispose()
    assert accepted.count(True) == 5
    assert scalar(services, "SELECT count(*) FROM jobs") == 20
    gaps = "SELECT count(*) FROM generate_series(1, 20) n WHERE n NOT IN (SELECT seq FROM jobs)"
    assert scalar(services, gaps) == 0
    assert_books_balance(services)


def test_pages_of_jobs_and_batches_show_every_row_once(services: Services) -> None:
    who, other = factories.customer(services, extra_credits=99), factories.customer(services)
    made = [submit_batch(services, who.principal, FOUR[: 1 + number % 3]).id for number in range(9)]
    factories.submitted(services, other)
    jobs, batches = [], []
    before = None
    while page := views.newest_jobs(services.db, who.account_id, limit=4, before=before):
        jobs += page
        before = page[-1].seq
        submit.submit(services, who.principal, factories.request())  # while somebody pages
    assert [job.seq for job in jobs] == list(range(18, 0, -1))
    before = jobs[0].seq + 1
    while pages := views.newest_batches(services.db, who.account_id, limit=2, before=before):
        batches += pages
        before = pages[-1][0].seq
    assert [batch[0].batch_id for batch in batches] == made[::-1]
    assert [len(batch) for batch in batches] == [1 + number % 3 for number in range(9)][::-1]
    assert all([job.batch_place for job in batch] == list(range(len(batch))) for batch in batches)


def test_a_batch_is_its_owners_and_goes_by_its_first_job(services: Services) -> None:
    who, other = (factories.customer(services, extra_credits=10) for _ in range(2))
    batch = submit_batch(services, who.principal, FOUR)
    for account_id, batch_id in (
        (other.account_id, batch.id),
        (who.account_id, batch.jobs[1].job_id),
        (who.account_id, uuid.uuid4()),
    ):
        with pytest.raises(NotFound):
            views.get_batch(services.db, account_id, batch_id)


def test_a_sold_name_and_its_words_stay_with_the_job(services: Services) -> None:
    who = factories.customer(services, storefront="pixapi")
    asked = JobRequest(
        "flux-schnell",
        "generate",
        {"prompt": "a fox"},
        sold_as="gpt-image-2",
        about={"quality": "standard", "prompt": "a fox"},
    )
    batch = submit_batch(services, who.principal, [asked])
    assert (batch.jobs[0].model, batch.jobs[0].queue) == ("gpt-image-2", "gpu.flux-schnell")
    job = views.get_job(services.db, who.account_id, batch.id)
    assert (job.model, job.sold_model, job.about) == ("flux-schnell", "gpt-image-2", asked.about)
    assert (job.price_tenths, job.price_rule) == (120, "gpt-image-2: 12")
    assert job.state is JobState.QUEUED
