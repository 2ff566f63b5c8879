"""Usage by day and kind: days are UTC's, and what is charged agrees with the ledger."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest

from farm import settle, submit
from farm.errors import InvalidRequest
from farm.services import Services
from farm.usage import DAYS_MAX, UsageRow, usage_by_day
from tests import factories
from tests.factories import Customer
from tests.farm.checks import assert_books_balance, run, scalar
from tests.farm.months import Clock, set_time_zone

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)


def at(services: Services, job_id: uuid.UUID, moment: datetime) -> None:
    """Submitted at this time."""
    run(services, "UPDATE jobs SET created_at = :at WHERE id = :id", at=moment, id=job_id)


def job(services: Services, who: Customer, moment: datetime, model: str = "sdxl") -> uuid.UUID:
    """A job submitted at this time."""
    job_id = submit.submit(services, who.principal, factories.request(model), None).job_id
    at(services, job_id, moment)
    return job_id


def rows(services: Services, who: Customer, days: int) -> list[tuple[date, int]]:
    """Which days are in, and with how many jobs."""
    return [(row.day, row.jobs) for row in usage_by_day(services.db, who.account_id, days)]


def test_jobs_are_counted_by_day_and_kind_and_by_how_they_ended(services: Services) -> None:
    Clock(services, NOON)
    who, other = (factories.customer(services, extra_credits=50) for _ in range(2))
    yesterday = NOON - timedelta(days=1)
    for _ in range(2):
        assert factories.succeed(
            services, factories.claimed(services, job(services, who, yesterday))
        )
    factories.fail(services, factories.claimed(services, job(services, who, yesterday)))
    claim = factories.claimed(services, job(services, who, yesterday))
    settle.block(services.db, claim, "result_refused", "Refused.")
    settle.cancel(services.db, None, job(services, who, yesterday))
    job(services, who, NOON, "flux-schnell")
    job(services, who, NOON)
    job(services, other, NOON)

    assert usage_by_day(services.db, who.account_id, 30) == [
        UsageRow(NOON.date(), "generate", "flux-schnell", 1, 0, 0, 0),
        UsageRow(NOON.date(), "generate", "sdxl", 1, 0, 0, 0),
        UsageRow(yesterday.date(), "generate", "sdxl", 5, 2, 3, 60),
    ]
    charged = "SELECT -sum(amount) FROM entries WHERE kind = 'charge' AND book = 'held'"
    assert scalar(services, charged) == 60
    assert_books_balance(services)


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
def test_a_day_is_utcs_to_the_microsecond_in_every_session(services: Services, zone: str) -> None:
    """On the days when these zones' clocks are changed, too."""
    clock = Clock(services, NOON)
    set_time_zone(services, zone)
    who = factories.customer(services, extra_credits=50)
    midnight = datetime(2024, 3, 10, tzinfo=UTC)
    for moment in (midnight - timedelta(microseconds=1), midnight, NOON):
        job(services, who, moment)

    today, yesterday = (midnight.date(), 2), (midnight.date() - timedelta(days=1), 1)
    assert rows(services, who, 1) == [today]
    assert rows(services, who, 2) == [today, yesterday]
    clock.set(midnight)
    assert rows(services, who, 1) == [today]
    clock.set(midnight + timedelta(days=1) - timedelta(microseconds=1))
    assert rows(services, who, 1) == [today]
    clock.set(midnight + timedelta(days=1))
    assert rows(services, who, 1) == []
    assert rows(services, who, 2) == [today]
    assert rows(services, who, 3) == [today, yesterday]


def test_an_account_without_jobs_used_nothing(services: Services) -> None:
    who = factories.customer(services)
    assert usage_by_day(services.db, who.account_id, 30) == []
    assert usage_by_day(services.db, uuid.uuid4(), DAYS_MAX) == []


def test_senseless_days_are_refused(services: Services) -> None:
    for days in (0, -1, DAYS_MAX + 1):
        with pytest.raises(InvalidRequest) as caught:
            usage_by_day(services.db, uuid.uuid4(), days)
        assert [error.field for error in caught.value.errors] == ["days"]
