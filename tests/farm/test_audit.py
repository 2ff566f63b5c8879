"""The audit finds what is broken: each invariant is broken on purpose, past every guard."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from farm.audit import audit, summary
from farm.services import Services
from farm.submit import submit
from farm.types import Claim, Idempotency
from farm.webhooks.endpoints import add_endpoint
from tests import factories
from tests.farm.checks import assert_books_balance, run, scalar


def break_books(services: Services, *statements: str, **values: object) -> None:
    """Change rows behind the triggers' back, as a bug in the database's own guards would."""
    with services.db.transaction() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), names)


def broken_numbers(services: Services) -> set[int]:
    """The invariants that the audit finds broken."""
    return {finding.number for finding in audit(services) if not finding.holds}


@pytest.fixture
def settled(services: Services) -> uuid.UUID:
    """A job that succeeded, beside one that failed, one queued and one running."""
    who = factories.customer(services, plan="pro", extra_credits=10)
    endpoint, _ = add_endpoint(services.db, who.account_id, "https://shop.example/hook")
    run(
        services,
        "UPDATE webhook_endpoints SET since = since - interval '1 hour' WHERE id = :id",
        id=endpoint.id,
    )
    failed = factories.claimed(services, factories.submitted(services, who))
    factories.fail(services, failed)
    request = replace(factories.request(), webhook_url="https://shop.example/mine")
    idempotency = Idempotency("k", b"\1" * 32)
    claim = factories.claimed(
        services, submit(services, who.principal, request, idempotency).job_id
    )
    assert factories.succeed(services, claim)
    factories.submitted(services, who)
    factories.claimed(services, factories.submitted(services, who))
    submit(services, who.principal, factories.edit(image=factories.picture()))
    assert_books_balance(services)
    return claim.job_id


def test_it_says_that_all_is_well_in_one_line_and_keeps_the_result(
    services: Services, settled: uuid.UUID
) -> None:
    assert summary(audit(services)) == "audit: all 11 invariants hold"
    assert scalar(services, "SELECT broken FROM audits ORDER BY id DESC LIMIT 1") == []
    assert scalar(services, "SELECT state FROM jobs WHERE id = :id", id=settled) == "succeeded"


@pytest.mark.parametrize(
    ("number", "damage"),
    [
        (1, "UPDATE entries SET amount = amount + 1 WHERE id = (SELECT min(id) FROM entries)"),
        (2, "UPDATE accounts SET posted = posted + 1"),
        (2, "UPDATE holds SET amount = amount + 1 WHERE state = 'open'"),
        (4, "DELETE FROM holds WHERE state = 'charged'"),
        (4, "UPDATE holds SET state = 'open' WHERE state = 'charged'"),
        (4, "DELETE FROM entries WHERE kind = 'charge'"),
        (4, "DELETE FROM entries WHERE kind = 'release'"),
        (5, "UPDATE jobs SET settled_attempt = 9 WHERE id = :job"),
        (5, "UPDATE jobs SET output_sha256 = NULL WHERE id = :job"),
        (5, "UPDATE jobs SET output_deleted_at = now() WHERE id = :job"),
        (5, "UPDATE jobs SET output_sha256 = decode(repeat('00', 32), 'hex') WHERE id = :job"),
        (6, "UPDATE entries SET kind = 'hold' WHERE kind = 'purchase'"),
        (7, "UPDATE jobs SET queued_at = now() - interval '2 days' WHERE state = 'queued'"),
        (7, "UPDATE jobs SET lease_until = now() - interval '1 hour' WHERE state = 'running'"),
        (7, "UPDATE jobs SET created_at = now() - interval '9 days' WHERE state = 'running'"),
        (8, "DELETE FROM webhook_deliveries WHERE url IS NULL"),
        (8, "DELETE FROM webhook_deliveries WHERE url IS NOT NULL"),
        (8, "UPDATE webhook_deliveries SET event = 'job.failed'"),
        (8, "UPDATE webhook_deliveries SET next_at = now() - interval '9 days'"),
        (9, "UPDATE idempotency_keys SET account_id = gen_random_uuid()"),
        (10, "UPDATE inputs SET deleted_at = now()"),
        (10, "UPDATE inputs SET key = NULL, url = 'https://x.example/a.png'"),
        (11, "UPDATE jobs SET batch_size = 2 WHERE id = :job"),
        (11, "UPDATE jobs SET seq = seq + 100 WHERE id = :job"),
        (11, "UPDATE accounts SET jobs_made = jobs_made + 1"),
        (2, "UPDATE accounts SET live = live + 1"),
    ],
)
def test_each_broken_invariant_is_found(
    services: Services, settled: uuid.UUID, number: int, damage: str
) -> None:
    drop_checks = (
        "ALTER TABLE entries DROP CONSTRAINT entries_job",
        "ALTER TABLE entries DROP CONSTRAINT entries_adjust_says_why",
    )
    break_books(services, *drop_checks, damage, job=settled)
    assert number in broken_numbers(services)


def test_an_overdraft_is_found(services: Services, settled: uuid.UUID) -> None:
    break_books(
        services,
        "ALTER TABLE accounts DROP CONSTRAINT accounts_no_overdraft",
        "UPDATE accounts SET held = posted + 1",
        job=settled,
    )
    assert 3 in broken_numbers(services)


def test_a_missing_and_an_altered_file_are_found(services: Services, settled: uuid.UUID) -> None:
    key = scalar(services, "SELECT output_key FROM jobs WHERE id = :id", id=settled)
    services.storage.delete(key)
    findings = {finding.number: finding for finding in audit(services)}
    assert findings[5].offenders == 1
    assert str(settled) in findings[5].example
    assert summary(list(findings.values())) == "audit: BROKEN: invariant 5 (of 11)"


def test_the_file_of_another_attempt_is_not_the_settled_one(
    services: Services, settled: uuid.UUID
) -> None:
    claim = Claim(settled, uuid.uuid4(), 2, "", "", "", 0, {}, datetime.now(UTC))
    key = factories.stored(services, claim).key
    break_books(services, "UPDATE jobs SET output_key = :key WHERE id = :id", key=key, id=settled)
    assert broken_numbers(services) == {5}


def test_an_expired_output_may_be_gone(services: Services, settled: uuid.UUID) -> None:
    key = scalar(services, "SELECT output_key FROM jobs WHERE id = :id", id=settled)
    services.storage.delete(key)
    break_books(
        services,
        "UPDATE jobs SET output_expires_at = now() - interval '1 minute', "
        "output_deleted_at = now() WHERE id = :job",
        job=settled,
    )
    assert_books_balance(services)
