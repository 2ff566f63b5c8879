"""Pictures of a job: stored before it starts, fetched where they are elsewhere, deleted after."""

from __future__ import annotations

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from farm import inputs, jobs, settle
from farm.errors import Forbidden, IdempotencyMismatch, InsufficientCredits, StorageUnavailable
from farm.messages import FETCH, GENERATE, INTAKE_QUEUE, Ring
from farm.retention import sweep_orphans
from farm.services import Services
from farm.storage import LocalStorage
from farm.submission import Submission
from farm.submit import submit
from farm.types import AccountStatus, Idempotency, JobState, Picture, RemotePicture
from tests import factories
from tests.contracts.storage import FOREVER_S
from tests.factories import Customer
from tests.farm.checks import amounts, assert_books_balance, run, scalar

URL = RemotePicture("https://pictures.example/a.png")
PRICE = 50


@pytest.fixture
def who(services: Services) -> Customer:
    return factories.customer(services)


def files(services: Services) -> set[tuple[uuid.UUID, int]]:
    """Every (job, attempt) that has files."""
    return set(services.storage.attempts(FOREVER_S))


def remote(services: Services, who: Customer) -> Submission:
    """A job with one picture uploaded and one to be fetched."""
    request = factories.edit(image=factories.picture(), mask=URL)
    return submit(services, who.principal, request)


def age_fetch(services: Services, job_id: uuid.UUID) -> None:
    """Let the fetch that has the job have died."""
    run(services, "UPDATE jobs SET fetch_until = now() - interval '1 s' WHERE id = :id", id=job_id)


def finish(services: Services, job_id: uuid.UUID, colour: str = "white") -> Ring | None:
    """Store a mask and make the job ready."""
    mask = factories.picture(colour=colour)
    stored = inputs.store(services.storage, job_id, mask)
    return inputs.finish_fetch(services.db, job_id, {"mask": (mask, stored)})


def test_an_uploaded_picture_is_there_when_the_job_is_claimed(
    services: Services, who: Customer
) -> None:
    picture = factories.picture()
    made = submit(services, who.principal, factories.edit(image=picture))
    assert made.ready
    assert made.ring == Ring(made.job_id, "gpu.remove-object", 9)
    assert made.ring.task == GENERATE
    claim = factories.claimed(services, made.job_id)
    assert set(claim.inputs) == {"image"}
    with services.storage.open(claim.inputs["image"]) as file:
        assert file.read() == picture.data
    sha256 = scalar(services, "SELECT sha256 FROM inputs WHERE job_id = :id", id=made.job_id)
    assert bytes(sha256) == hashlib.sha256(picture.data).digest()
    assert amounts(services, who.account_id) == (100, PRICE, 100)
    assert_books_balance(services)


def test_a_job_without_pictures_claims_none(services: Services, who: Customer) -> None:
    assert factories.claimed(services, factories.submitted(services, who)).inputs == {}


def test_a_job_that_waits_for_a_picture_cannot_be_claimed_until_it_is_there(
    services: Services, who: Customer
) -> None:
    made = remote(services, who)
    assert not made.ready
    assert (made.ring.queue, made.ring.task) == (INTAKE_QUEUE, FETCH)
    assert jobs.claim(services.db, made.job_id, "w", 30, 3) is None
    assert jobs.depths(services.db) == {(INTAKE_QUEUE, JobState.QUEUED): 1}

    pending = inputs.begin_fetch(services.db, made.job_id)
    assert pending == inputs.PendingFetch(
        made.job_id, "remove-object", {"mask": URL.url}, {"image": Picture(b"", "", 8, 6)}
    )
    assert finish(services, made.job_id) == Ring(made.job_id, "gpu.remove-object", 9)
    assert jobs.depths(services.db) == {("gpu.remove-object", JobState.QUEUED): 1}
    claim = factories.claimed(services, made.job_id)
    assert set(claim.inputs) == {"image", "mask"}
    assert factories.succeed(services, claim)
    assert amounts(services, who.account_id) == (100 - PRICE, 0, 100 - PRICE)
    assert_books_balance(services)


def test_the_database_keeps_a_job_from_running_without_its_pictures(
    services: Services, who: Customer
) -> None:
    from sqlalchemy.exc import IntegrityError

    job_id = remote(services, who).job_id
    with pytest.raises(IntegrityError, match="jobs_run_ready"):
        run(
            services,
            "UPDATE jobs SET state = 'running', attempt = 1, lease_until = now() WHERE id = :id",
            id=job_id,
        )


def test_one_fetch_has_a_job_at_a_time_and_a_dead_one_is_followed_by_another(
    services: Services, who: Customer
) -> None:
    job_id = remote(services, who).job_id
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: inputs.begin_fetch(services.db, job_id), range(16)))
    assert sum(found is not None for found in taken) == 1
    age_fetch(services, job_id)
    assert inputs.begin_fetch(services.db, job_id) is not None


def test_fetches_end_after_a_few_and_the_hold_goes_back(services: Services, who: Customer) -> None:
    job_id = remote(services, who).job_id
    for _ in range(inputs.FETCHES_MAX):
        assert inputs.begin_fetch(services.db, job_id) is not None
        assert inputs.begin_fetch(services.db, job_id) is None
        assert scalar(services, "SELECT state FROM jobs WHERE id = :id", id=job_id) == "queued"
        age_fetch(services, job_id)
    assert inputs.begin_fetch(services.db, job_id) is None
    found = scalar(services, "SELECT state || error_code FROM jobs WHERE id = :id", id=job_id)
    assert found == "failedinput_unavailable"
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_a_refused_picture_ends_the_job_once_and_costs_nothing(
    services: Services, who: Customer
) -> None:
    job_id = remote(services, who).job_id
    assert inputs.begin_fetch(services.db, job_id) is not None
    assert inputs.refuse(services.db, job_id, "unreadable_image", "mask_url: It is a GIF.")
    assert not inputs.refuse(services.db, job_id, "unreadable_image", "Again.")
    assert finish(services, job_id) is None
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_of_two_fetches_the_first_counts(services: Services, who: Customer) -> None:
    job_id = remote(services, who).job_id
    assert finish(services, job_id, "white") is not None
    kept = scalar(
        services, "SELECT key FROM inputs WHERE job_id = :id AND name = 'mask'", id=job_id
    )
    assert finish(services, job_id, "black") is None
    assert factories.claimed(services, job_id).inputs["mask"] == kept


def test_a_lost_ring_for_intake_is_rung_again_behind_the_control_queue(
    services: Services,
) -> None:
    who = factories.customer(services, plan="scale")
    made = remote(services, who)
    run(services, "UPDATE jobs SET rung_at = now() - interval '1 hour'")
    assert jobs.due_for_ring(services.db, 30.0) == [Ring(made.job_id, INTAKE_QUEUE, 3)]


def test_a_cancelled_job_is_not_fetched(services: Services, who: Customer) -> None:
    job_id = remote(services, who).job_id
    assert settle.cancel(services.db, who.account_id, job_id) is JobState.CANCELLED
    assert inputs.begin_fetch(services.db, job_id) is None
    assert finish(services, job_id) is None
    assert_books_balance(services)


def test_inputs_go_when_the_job_has_ended_and_not_before(services: Services, who: Customer) -> None:
    live = submit(services, who.principal, factories.edit(image=factories.picture())).job_id
    ended = remote(services, who).job_id
    assert inputs.delete_spent(services.db, services.storage) == 0
    settle.cancel(services.db, who.account_id, ended)
    assert inputs.delete_spent(services.db, services.storage) == 2
    assert inputs.delete_spent(services.db, services.storage) == 0
    assert files(services) == {(live, inputs.ATTEMPT)}
    assert scalar(services, "SELECT count(*) FROM inputs WHERE url IS NOT NULL") == 0
    assert factories.claimed(services, live).inputs.keys() == {"image"}


def test_orphans_of_intake_are_swept_only_when_nobody_can_need_them(
    services: Services, who: Customer
) -> None:
    live = submit(services, who.principal, factories.edit(image=factories.picture())).job_id
    ended = remote(services, who).job_id
    finish(services, ended)
    finish(services, ended)  # a second fetch's file, in no row
    nobody = uuid.uuid4()
    inputs.store(services.storage, nobody, factories.picture())
    claim = factories.claimed(services, live)
    sweep_orphans(services.db, services.storage, older_than_s=FOREVER_S)
    assert files(services) == {(live, 0), (ended, 0)}
    settle.cancel(services.db, who.account_id, ended)
    inputs.delete_spent(services.db, services.storage)
    sweep_orphans(services.db, services.storage, older_than_s=FOREVER_S)
    assert files(services) == {(live, 0)}
    assert factories.succeed(services, claim)


@pytest.mark.parametrize("block", [False, True])
def test_what_is_refused_leaves_no_file(services: Services, block: bool) -> None:
    who = factories.customer(services)
    if block:
        run(services, "UPDATE accounts SET status = :s", s=AccountStatus.BLOCKED.value)
    else:
        run(services, "UPDATE accounts SET held = 60 WHERE id = :id", id=who.account_id)
    with pytest.raises(Forbidden if block else InsufficientCredits):
        submit(services, who.principal, factories.edit(image=factories.picture()))
    assert files(services) == set()
    assert scalar(services, "SELECT count(*) FROM jobs") == 0


def test_many_at_once_hold_what_is_there_and_leave_no_file_of_the_refused(
    services: Services, who: Customer
) -> None:
    def one(_: int) -> uuid.UUID | None:
        try:
            request = factories.edit(image=factories.picture())
            return submit(services, who.principal, request).job_id
        except InsufficientCredits:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [job for job in pool.map(one, range(16)) if job]
    assert len(made) == 2  # ten credits at five each
    assert files(services) == {(job, 0) for job in made}
    assert_books_balance(services)


def test_the_same_idempotency_key_stores_nothing_twice(services: Services, who: Customer) -> None:
    key = Idempotency("k", b"\1" * 32)
    request = factories.edit(image=factories.picture(), mask=URL)
    first = submit(services, who.principal, request, key)
    again = submit(services, who.principal, request, key)
    assert (again.job_id, again.replayed, again.ready) == (first.job_id, True, False)
    with pytest.raises(IdempotencyMismatch):
        submit(services, who.principal, request, Idempotency("k", b"\2" * 32))
    assert files(services) == {(first.job_id, 0)}
    assert amounts(services, who.account_id) == (100, PRICE, 100)


def test_two_first_requests_with_one_key_keep_one_job_and_its_file(
    services: Services, who: Customer
) -> None:
    key = Idempotency("k", b"\1" * 32)
    request = factories.edit(image=factories.picture())
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(lambda _: submit(services, who.principal, request, key).job_id, range(8))
        )
    assert len(set(made)) == 1
    assert files(services) == {(made[0], 0)}


def test_a_key_older_than_a_day_makes_a_new_job_with_its_own_picture(
    services: Services, who: Customer
) -> None:
    key = Idempotency("k", b"\1" * 32)
    request = factories.edit(image=factories.picture())
    first = submit(services, who.principal, request, key)
    run(services, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    second = submit(services, who.principal, request, key)
    assert second.job_id != first.job_id
    assert not second.replayed
    assert factories.claimed(services, second.job_id).inputs.keys() == {"image"}
    assert files(services) == {(first.job_id, 0), (second.job_id, 0)}


def test_a_full_disk_refuses_the_submit_with_nothing_held(
    services: Services, who: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageUnavailable("An output could not be stored: No space left on device.")

    monkeypatch.setattr(LocalStorage, "put", full)
    with pytest.raises(StorageUnavailable):
        submit(services, who.principal, factories.edit(image=factories.picture()))
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert scalar(services, "SELECT count(*) FROM jobs") == 0


def test_a_refused_prompt_stores_no_picture(services: Services, who: Customer) -> None:
    from farm.types import JobRequest

    request = JobRequest(
        "replace-background",
        "replace-background",
        {"prompt": "child porn"},
        inputs={"image": factories.picture()},
    )
    made = submit(services, who.principal, request)
    assert made.state is JobState.BLOCKED
    assert files(services) == set()
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)
