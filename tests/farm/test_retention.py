"""What is thrown away: outputs past their day and files that no settled attempt owns."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from farm import retention, settle, views
from farm.errors import NotFound, StorageUnavailable
from farm.retention import delete_expired_outputs, sweep_orphans
from farm.services import Services
from farm.storage import LocalStorage, Storage
from farm.types import Claim, StoredOutput
from tests import factories
from tests.contracts.storage import FOREVER_S, is_gone
from tests.farm.checks import assert_books_balance, run, scalar

NOW_S = FOREVER_S
"""As the orphans' age: sweep what was written a moment ago as well."""


def settled(services: Services, *, ttl_s: float = 3600.0) -> tuple[Claim, StoredOutput]:
    """A job that succeeded, with its output."""
    claim = factories.claimed(services, factories.submitted(services, factories.customer(services)))
    output = factories.stored(services, claim)
    assert settle.succeed(
        services.db, claim, output, facts={}, served_by="t", processing_ms=1, ttl_s=ttl_s
    )
    return claim, output


def expire(services: Services, claim: Claim) -> None:
    """Let a job's output have expired a minute ago."""
    run(
        services,
        "UPDATE jobs SET output_expires_at = now() - interval '1 minute' WHERE id = :id",
        id=claim.job_id,
    )


def stored_attempts(services: Services) -> set[tuple[uuid.UUID, int]]:
    """Every attempt that has files."""
    return set(services.storage.attempts(FOREVER_S))


def is_unreachable(services: Services, output: StoredOutput) -> bool:
    """True when the API would answer 404."""
    try:
        views.find_output(services.db, output.public_path)
    except NotFound:
        return True
    return False


def test_an_output_is_unreachable_from_its_expiry_and_then_deleted_and_marked(
    services: Services,
) -> None:
    old, old_output = settled(services)
    _, new_output = settled(services)
    assert delete_expired_outputs(services.db, services.storage) == 0
    assert not is_unreachable(services, old_output)

    expire(services, old)
    assert is_unreachable(services, old_output)
    assert not is_gone(services.storage, old_output.key)
    assert delete_expired_outputs(services.db, services.storage) == 1
    assert is_gone(services.storage, old_output.key)
    assert is_unreachable(services, old_output)
    assert views.get_job(services.db, old.account_id, old.job_id).output_path is None
    assert delete_expired_outputs(services.db, services.storage) == 0

    assert not is_unreachable(services, new_output)
    assert not is_gone(services.storage, new_output.key)
    assert_books_balance(services)


def test_a_round_deletes_no_more_than_its_limit_the_oldest_first(services: Services) -> None:
    made = [settled(services) for _ in range(5)]
    for minutes, (claim, _) in enumerate(made, 1):
        run(
            services,
            "UPDATE jobs SET output_expires_at = now() - make_interval(mins => :m) WHERE id = :id",
            m=minutes,
            id=claim.job_id,
        )
    assert delete_expired_outputs(services.db, services.storage, limit=2) == 2
    gone = [is_gone(services.storage, output.key) for _, output in made]
    assert gone == [False, False, False, True, True]
    rest = [delete_expired_outputs(services.db, services.storage, limit=2) for _ in range(3)]
    assert rest == [2, 1, 0]
    assert_books_balance(services)


def test_a_crash_between_the_file_and_its_mark_is_repaired_by_the_next_round(
    services: Services,
) -> None:
    claim, output = settled(services)
    expire(services, claim)
    services.storage.delete(output.key)
    assert delete_expired_outputs(services.db, services.storage) == 1
    assert scalar(services, "SELECT output_deleted_at IS NOT NULL FROM jobs") is True
    assert_books_balance(services)


class Unwilling(LocalStorage):
    """A storage whose disk went away: nothing can be deleted."""

    def delete(self, key: str) -> None:
        raise StorageUnavailable("The disk is away.")

    def delete_attempt(self, job_id: uuid.UUID, attempt: int) -> None:
        raise StorageUnavailable("The disk is away.")


def test_what_could_not_be_deleted_is_not_marked(services: Services) -> None:
    claim, output = settled(services)
    expire(services, claim)
    away = Unwilling(services.settings.data / "storage")
    with pytest.raises(StorageUnavailable):
        delete_expired_outputs(services.db, away)
    assert not is_gone(services.storage, output.key)
    assert delete_expired_outputs(services.db, services.storage) == 1
    assert is_gone(services.storage, output.key)


def test_two_rounds_at_once_are_harmless(services: Services) -> None:
    for _ in range(6):
        expire(services, settled(services)[0])
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: delete_expired_outputs(services.db, services.storage), range(2)))
    assert stored_attempts(services) == set()
    assert scalar(services, "SELECT count(*) FROM jobs WHERE output_deleted_at IS NULL") == 0
    assert_books_balance(services)


def test_files_of_attempts_that_can_no_longer_settle_are_swept(services: Services) -> None:
    who = factories.customer(services, extra_credits=100)

    failed = factories.claimed(services, factories.submitted(services, who))
    factories.stored(services, failed)
    factories.fail(services, failed)

    cancelled = factories.claimed(services, factories.submitted(services, who))
    factories.stored(services, cancelled)
    settle.cancel(services.db, None, cancelled.job_id)

    job_id = factories.submitted(services, who)
    overtaken = factories.abandoned(services, job_id)
    factories.stored(services, overtaken)
    winner = factories.claimed(services, job_id)
    assert factories.succeed(services, winner)

    nobodys = uuid.uuid4()
    services.storage.put(nobodys, 1, factories.Artifact(b"x", "image/png", "images", "png"))

    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S) == 4
    assert stored_attempts(services) == {(winner.job_id, winner.attempt)}
    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S) == 0
    assert_books_balance(services)


def test_an_overtaken_attempt_is_swept_while_its_job_still_runs(services: Services) -> None:
    job_id = factories.submitted(services, factories.customer(services))
    factories.stored(services, factories.abandoned(services, job_id))
    current = factories.claimed(services, job_id)
    factories.stored(services, current)
    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S) == 1
    assert stored_attempts(services) == {(job_id, current.attempt)}


def test_files_that_may_still_be_settled_are_kept(services: Services) -> None:
    who = factories.customer(services, extra_credits=100)
    running = factories.claimed(services, factories.submitted(services, who))
    silent = factories.abandoned(services, factories.submitted(services, who))
    requeued = factories.claimed(services, factories.submitted(services, who))
    for claim in (running, silent, requeued):
        factories.stored(services, claim)
    factories.fail(services, requeued, retry=True)
    kept = {(claim.job_id, claim.attempt) for claim in (running, silent)}

    sweep_orphans(services.db, services.storage, older_than_s=NOW_S)
    assert stored_attempts(services) >= kept
    assert factories.succeed(services, running)
    assert factories.succeed(services, silent)
    assert_books_balance(services)


def test_a_fresh_orphan_is_given_its_time(services: Services) -> None:
    """Its worker may be between storing and settling, with a database that is away."""
    claim = factories.claimed(services, factories.submitted(services, factories.customer(services)))
    factories.stored(services, claim)
    factories.fail(services, claim)
    assert sweep_orphans(services.db, services.storage) == 0
    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S) == 1


def test_what_an_expired_output_left_behind_is_swept(services: Services) -> None:
    claim, _ = settled(services)
    factories.stored(services, claim)
    expire(services, claim)
    delete_expired_outputs(services.db, services.storage)
    assert stored_attempts(services) == {(claim.job_id, claim.attempt)}
    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S) == 1
    assert stored_attempts(services) == set()


def orphans(storage: Storage, number: int) -> None:
    """Files of jobs that do not exist."""
    for _ in range(number):
        storage.put(uuid.uuid4(), 1, factories.Artifact(b"x", "image/png", "images", "png"))


def test_a_sweep_ends_at_its_limit_and_goes_in_batches(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_BATCH", 2)
    orphans(services.storage, 7)
    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S, limit=3) == 3
    assert len(stored_attempts(services)) == 4
    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S) == 4
    assert stored_attempts(services) == set()


def test_orphans_are_reached_however_many_outputs_are_kept(services: Services) -> None:
    """The limit bounds the work of one round, not how far the rounds ever get."""
    for _ in range(6):
        settled(services)
    orphans(services.storage, 3)
    assert sweep_orphans(services.db, services.storage, older_than_s=NOW_S, limit=3) == 3
    assert len(stored_attempts(services)) == 6
