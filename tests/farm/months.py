"""Accounts whose months go by: a clock that tests set, and a calendar to compare with."""

from __future__ import annotations

import calendar
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import event

from farm import accounts
from farm.accounts import Account
from farm.services import Services
from tests.farm.checks import run, scalar


class Clock:
    """The database's ``now()``, set by a test.

    The statements under test and the PostgreSQL that runs them are the real ones; sessions
    only find this function before PostgreSQL's own. What the schema itself says, such as the
    default of a column, keeps the true time.
    """

    def __init__(self, services: Services, at: datetime) -> None:
        self._services = services
        for statement in (
            "CREATE SCHEMA clock",
            "CREATE TABLE clock.present (at timestamptz NOT NULL)",
            "INSERT INTO clock.present VALUES (pg_catalog.now())",
            "CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE "
            "AS 'SELECT at FROM clock.present'",
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = "
            "clock, public, pg_catalog', current_database()); END $$",
        ):
            run(services, statement)
        # Sessions that are open already would go on finding PostgreSQL's own.
        services.db.dispose()
        self.set(at)

    def set(self, at: datetime) -> None:
        """Make it this time, forwards or backwards."""
        run(self._services, "UPDATE clock.present SET at = :at", at=at)


def set_time_zone(services: Services, zone: str) -> None:
    """Give every session from now on this time zone."""

    def connected(session: Any, _: object) -> None:
        with session.cursor() as cursor:
            cursor.execute("SET TimeZone = %s", (zone,))

    event.listen(services.db.engine, "connect", connected)
    services.db.dispose()
    assert scalar(services, "SELECT current_setting('TimeZone')") == zone


def create(services: Services, email: str = "ann@example.com", **options: object) -> Account:
    """A new account, committed."""
    with services.db.transaction() as connection:
        return accounts.create_account(connection, services.catalog, email, **options)  # type: ignore[arg-type]


def find(services: Services, email: str, storefront: str | None = None) -> Account:
    """The account of an address."""
    with services.db.transaction() as connection:
        return accounts.find_account(connection, email, storefront)


def renew(services: Services, limit: int = 100) -> int:
    """One round of the monthly renewal."""
    with services.db.transaction() as connection:
        return accounts.renew_due_accounts(connection, services.catalog, limit)


def end_month(services: Services, account_id: uuid.UUID | None = None, months: int = 1) -> None:
    """Put accounts that many months into the past, so that their last period is just over."""
    run(
        services,
        "UPDATE accounts SET created_at = created_at - make_interval(months => :months), "
        "period_end = period_end - make_interval(months => :months) - interval '1 second' "
        "WHERE :any OR id = :id",
        months=months,
        any=account_id is None,
        id=account_id or uuid.uuid4(),
    )


def anniversary(start: datetime, months: int) -> datetime:
    """``start`` that many months later, on the month's last day where it has no such day."""
    years, month = divmod(start.month - 1 + months, 12)
    last = calendar.monthrange(start.year + years, month + 1)[1]
    return start.replace(year=start.year + years, month=month + 1, day=min(start.day, last))
