"""What a test asks of the books: a sound audit, and amounts in whole tenths."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import text

from farm import views
from farm.audit import audit
from farm.services import Services


def assert_books_balance(services: Services) -> None:
    """Every invariant holds."""
    broken = [finding for finding in audit(services) if not finding.holds]
    assert broken == []


def amounts(services: Services, account_id: uuid.UUID) -> tuple[int, int, int]:
    """(posted, held, grant left) of an account, in tenths."""
    account = views.balance(services.db, account_id)
    return account.posted_tenths, account.held_tenths, account.grant_tenths


def scalar(services: Services, sql: str, **values: Any) -> Any:
    """The one value that a query returns."""
    with services.db.statement() as connection:
        return connection.execute(text(sql), values).scalar()


def run(services: Services, sql: str, **values: Any) -> None:
    """One statement, for arranging what no use case would do."""
    with services.db.statement() as connection:
        connection.execute(text(sql), values)
