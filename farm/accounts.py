"""Accounts: who pays, on which storefront and plan, and the monthly credit reset."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from farm import ledger
from farm.catalog import Catalog, Plan
from farm.errors import FieldError, InvalidRequest, NotFound
from farm.types import AccountStatus

# One @, no spaces, a dot in the domain: what a typing slip breaks. Delivery proves the rest.
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s.]+")

# The first anniversary of the account's own start day that still lies ahead. Counted from
# the start day each time, so that 31 January goes to 28 February and back to 31 March.
_NEXT_PERIOD_END = """(
    SELECT min(due) FROM (
        SELECT created_at + make_interval(months => n) AS due FROM generate_series(1, 1200) AS n
    ) AS months WHERE due > now()
)"""


@dataclass(frozen=True, slots=True)
class Account:
    """One account as the database has it; amounts in tenths of a credit."""

    id: uuid.UUID
    email: str
    storefront: str
    plan: str
    status: AccountStatus
    posted_tenths: int
    held_tenths: int
    grant_tenths: int
    created_at: datetime
    period_end: datetime

    @property
    def available_tenths(self) -> int:
        """What can be spent now: holds are not in it."""
        return self.posted_tenths - self.held_tenths


_COLUMNS = "id, email, storefront, plan, status, posted, held, grant_left, created_at, period_end"


def _account(row: Row[Any]) -> Account:
    return Account(
        row.id,
        row.email,
        row.storefront,
        row.plan,
        AccountStatus(row.status),
        row.posted,
        row.held,
        row.grant_left,
        row.created_at,
        row.period_end,
    )


def create_account(
    connection: Connection,
    catalog: Catalog,
    email: str,
    *,
    storefront: str = "pixelapi",
    plan: str | None = None,
    extra_tenths: int = 0,
) -> Account:
    """A new account holding its plan's monthly credits, and ``extra_tenths`` that do not expire.

    Raises:
        InvalidRequest: naming ``email``, ``storefront`` or ``plan``.
    """
    shop = catalog.storefronts.get(storefront)
    if shop is None:
        names = ", ".join(catalog.storefronts)
        raise InvalidRequest([FieldError("storefront", f"must be one of {names}.")])
    if len(email) > 254 or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise InvalidRequest([FieldError("email", f"{email[:80]!r} is not an e-mail address.")])
    chosen = _plan(catalog, storefront, plan or shop.default_plan)
    account_id = uuid.uuid4()
    try:
        with connection.begin_nested():
            connection.execute(
                text(
                    "INSERT INTO accounts (id, email, storefront, plan, period_end) "
                    "VALUES (:id, :email, :storefront, :plan, now() + interval '1 month')"
                ),
                {"id": account_id, "email": email, "storefront": storefront, "plan": chosen.id},
            )
    except IntegrityError as error:
        raise InvalidRequest(
            [FieldError("email", f"{email} already has an account on {storefront}.")]
        ) from error
    ledger.grant_monthly(connection, account_id, chosen.grant_tenths)
    if extra_tenths:
        ledger.grant(connection, account_id, extra_tenths, reason="granted with the new account")
    return get_account(connection, account_id)


def get_account(connection: Connection, account_id: uuid.UUID) -> Account:
    """The account with this id. Raises NotFound."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM accounts WHERE id = :id"), {"id": account_id}
    ).one_or_none()
    if row is None:
        raise NotFound("No such account.")
    return _account(row)


def find_account(connection: Connection, email: str, storefront: str | None = None) -> Account:
    """The account of this e-mail address, in any letter case.

    Raises:
        NotFound: there is none.
        InvalidRequest: several storefronts know the address and none was named.
    """
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM accounts WHERE lower(email) = lower(:email) "
            "AND (CAST(:storefront AS text) IS NULL OR storefront = :storefront)"
        ),
        {"email": email, "storefront": storefront},
    ).all()
    if not rows:
        raise NotFound(f"No account for {email}. Make one with `farm accounts create {email}`.")
    if len(rows) > 1:
        names = ", ".join(sorted(row.storefront for row in rows))
        raise InvalidRequest(
            [FieldError("storefront", f"{email} has accounts on {names}: say which.")]
        )
    return _account(rows[0])


def set_status(connection: Connection, account_id: uuid.UUID, status: AccountStatus) -> None:
    """Block or unblock an account. Raises NotFound."""
    done = connection.execute(
        text("UPDATE accounts SET status = :status WHERE id = :id RETURNING id"),
        {"id": account_id, "status": status.value},
    ).scalar()
    if done is None:
        raise NotFound("No such account.")


def change_plan(
    connection: Connection, catalog: Catalog, account_id: uuid.UUID, plan: str
) -> Account:
    """Move an account to another plan at once: its grant is replaced, its month goes on.

    Raises:
        NotFound: no such account.
        InvalidRequest: no such plan on the account's storefront.
    """
    account = get_account(connection, account_id)
    chosen = _plan(catalog, account.storefront, plan)
    if chosen.id != account.plan:
        connection.execute(
            text("UPDATE accounts SET plan = :plan WHERE id = :id"),
            {"id": account_id, "plan": chosen.id},
        )
        _replace_grant(connection, account_id, chosen)
    return get_account(connection, account_id)


def renew_due_accounts(connection: Connection, catalog: Catalog, limit: int = 100) -> int:
    """Give a fresh grant to accounts whose month ended; returns how many.

    Unused grant expires first. An account whose end passed several times while nothing ran
    gets one grant: credits do not roll over. Two callers at once never renew the same one.
    Accounts on a plan that the catalogue no longer has are passed over, so that they do not
    keep the others waiting; :func:`stranded_accounts` names them.
    """
    rows = connection.execute(
        text(
            "SELECT id, storefront, plan FROM accounts WHERE period_end <= now() "
            f"AND {_ON_A_KNOWN_PLAN} ORDER BY period_end LIMIT :limit FOR UPDATE SKIP LOCKED"
        ),
        {"limit": limit, **_known_plans(catalog)},
    ).all()
    for row in rows:
        _replace_grant(connection, row.id, _plan(catalog, row.storefront, row.plan))
        connection.execute(
            text(f"UPDATE accounts SET period_end = {_NEXT_PERIOD_END} WHERE id = :id"),
            {"id": row.id},
        )
    return len(rows)


def stranded_accounts(connection: Connection, catalog: Catalog, limit: int = 20) -> list[Account]:
    """Accounts on a storefront or plan that the catalogue does not have, oldest first."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM accounts WHERE NOT {_ON_A_KNOWN_PLAN} "
            "ORDER BY created_at LIMIT :limit"
        ),
        {"limit": limit, **_known_plans(catalog)},
    )
    return [_account(row) for row in rows]


_ON_A_KNOWN_PLAN = """(storefront, plan) IN (
    SELECT * FROM unnest(CAST(:storefronts AS text[]), CAST(:plans AS text[]))
)"""


def _known_plans(catalog: Catalog) -> dict[str, list[str]]:
    pairs = [(shop.id, plan) for shop in catalog.storefronts.values() for plan in shop.plans]
    return {"storefronts": [shop for shop, _ in pairs], "plans": [plan for _, plan in pairs]}


def _replace_grant(connection: Connection, account_id: uuid.UUID, plan: Plan) -> None:
    ledger.expire_grant(connection, account_id)
    ledger.grant_monthly(connection, account_id, plan.grant_tenths)


def _plan(catalog: Catalog, storefront: str, plan: str) -> Plan:
    plans = catalog.storefronts[storefront].plans
    if plan not in plans:
        raise InvalidRequest([FieldError("plan", f"must be one of {', '.join(plans)}.")])
    return plans[plan]
