"""Accounts: who pays, on which storefront and plan, the monthly credits and plan changes.

A month runs from the account's own day and time of day, in UTC, to the next; where a month
has no such day it ends on its last. A plan with more monthly credits is taken at once, for the
difference to what the month has had already; one with fewer from the month's end on. So one
month never gives more than the largest plan held in it, however often the plan changes.
"""

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
# the start day each time, so that 31 January goes to 28 February and back to 31 March; and in
# UTC, so that no session's time zone moves the day or, with its summer time, the hour.
_NEXT_PERIOD_END = """(
    SELECT min(due) FROM (
        SELECT (created_at AT TIME ZONE 'UTC' + make_interval(months => n)) AT TIME ZONE 'UTC'
            AS due
        FROM generate_series(1, 1200) AS n
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
    granted_tenths: int
    """What this month has had of monthly credits, spent or not."""
    next_plan: str | None
    """The plan from ``period_end`` on, where that is another one."""

    @property
    def available_tenths(self) -> int:
        """What can be spent now: holds are not in it."""
        return self.posted_tenths - self.held_tenths


@dataclass(frozen=True, slots=True)
class PlanChange:
    """The account after a change of plan, and what was given or taken; amounts in tenths.

    Where ``account.next_plan`` is set, the change comes at ``account.period_end``.
    """

    account: Account
    granted_tenths: int
    taken_tenths: int


_COLUMNS = (
    "id, email, storefront, plan, status, posted, held, grant_left, created_at, period_end, "
    "granted_in_period, next_plan"
)


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
        row.granted_in_period,
        row.next_plan,
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
                    "INSERT INTO accounts (id, email, storefront, plan, created_at, period_end) "
                    "VALUES (:id, :email, :storefront, :plan, now(), "
                    "(now() AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC')"
                ),
                {"id": account_id, "email": email, "storefront": storefront, "plan": chosen.id},
            )
    except IntegrityError as error:
        raise InvalidRequest(
            [FieldError("email", f"{email} already has an account on {storefront}.")]
        ) from error
    ledger.grant_monthly(connection, account_id, chosen.grant_tenths, reason=_month_of(chosen))
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
    connection: Connection,
    catalog: Catalog,
    account_id: uuid.UUID,
    plan: str,
    *,
    at_once: bool = False,
) -> PlanChange:
    """Move an account to another plan; its month goes on.

    To more monthly credits (or as many at a higher price): at once, for the difference to
    what this month has had. To less: at the month's end, because this month's credits are
    paid for and here to be spent; the plan the account has already takes such a move back.
    ``at_once`` does not wait, and takes back what was granted above the smaller plan's
    credits, so far as it is neither spent nor held.

    A month that is over and waits for its renewal is renewed first: a grant into it would be
    gone with the next sweep. A plan that the catalogue no longer has is left at once.

    Raises:
        NotFound: no such account.
        InvalidRequest: no such plan on the account's storefront.
    """
    _lock_current(connection, catalog, account_id, plan)
    before = get_account(connection, account_id)
    plans = catalog.storefronts[before.storefront].plans
    chosen, current = plans[plan], plans.get(before.plan)
    waits = current is not None and _size(chosen) < _size(current) and not at_once
    connection.execute(
        text("UPDATE accounts SET plan = :plan, next_plan = :next_plan WHERE id = :id"),
        {
            "id": account_id,
            "plan": before.plan if waits else plan,
            "next_plan": plan if waits else None,
        },
    )
    granted = taken = 0
    if not waits and plan != before.plan:
        reason = f"from {before.plan} to {plan}"
        more = chosen.grant_tenths - before.granted_tenths
        if more > 0:
            ledger.grant_monthly(connection, account_id, more, reason=reason)
            granted = more
        elif at_once:
            taken = ledger.take_back_grant(connection, account_id, -more, reason=reason)
    return PlanChange(get_account(connection, account_id), granted, taken)


def renew_due_accounts(connection: Connection, catalog: Catalog, limit: int = 100) -> int:
    """Give a fresh grant to accounts whose month ended; returns how many.

    Unused grant expires first, and a plan that was chosen for the new month begins. An
    account whose end passed several times while nothing ran gets one grant: credits do not
    roll over. Two callers at once never renew the same one.
    Accounts on a plan that the catalogue no longer has are passed over, so that they do not
    keep the others waiting; :func:`stranded_accounts` names them.
    """
    rows = connection.execute(
        text(
            "SELECT id, storefront, coalesce(next_plan, plan) AS plan FROM accounts "
            f"WHERE period_end <= now() AND {_on_a_known('coalesce(next_plan, plan)')} "
            "ORDER BY period_end LIMIT :limit FOR UPDATE SKIP LOCKED"
        ),
        {"limit": limit, **_known_plans(catalog)},
    ).all()
    for row in rows:
        _begin_month(connection, row.id, _plan(catalog, row.storefront, row.plan))
    return len(rows)


def stranded_accounts(connection: Connection, catalog: Catalog, limit: int = 20) -> list[Account]:
    """Accounts whose storefront, plan or next plan the catalogue does not have, oldest first."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM accounts WHERE NOT ({_on_a_known('plan')} "
            f"AND {_on_a_known('coalesce(next_plan, plan)')}) ORDER BY created_at LIMIT :limit"
        ),
        {"limit": limit, **_known_plans(catalog)},
    )
    return [_account(row) for row in rows]


def _on_a_known(plan: str) -> str:
    return f"""(storefront, {plan}) IN (
    SELECT * FROM unnest(CAST(:storefronts AS text[]), CAST(:plans AS text[]))
)"""


def _known_plans(catalog: Catalog) -> dict[str, list[str]]:
    pairs = [(shop.id, plan) for shop in catalog.storefronts.values() for plan in shop.plans]
    return {"storefronts": [shop for shop, _ in pairs], "plans": [plan for _, plan in pairs]}


def _lock_current(
    connection: Connection, catalog: Catalog, account_id: uuid.UUID, wanted: str
) -> None:
    """Lock an account, in a month that is not over: with the plan that month was to have, or
    the ``wanted`` one where the catalogue does not have that. Raises as ``change_plan``."""
    row = connection.execute(
        text(
            "SELECT storefront, coalesce(next_plan, plan) AS due, period_end <= now() AS over "
            "FROM accounts WHERE id = :id FOR UPDATE"
        ),
        {"id": account_id},
    ).one_or_none()
    if row is None:
        raise NotFound("No such account.")
    chosen = _plan(catalog, row.storefront, wanted)
    if row.over:
        due = catalog.storefronts[row.storefront].plans.get(row.due, chosen)
        _begin_month(connection, account_id, due)


def _begin_month(connection: Connection, account_id: uuid.UUID, plan: Plan) -> None:
    ledger.expire_grant(connection, account_id)
    connection.execute(
        text(
            "UPDATE accounts SET plan = :plan, next_plan = NULL, "
            f"period_end = {_NEXT_PERIOD_END} WHERE id = :id"
        ),
        {"id": account_id, "plan": plan.id},
    )
    ledger.grant_monthly(connection, account_id, plan.grant_tenths, reason=_month_of(plan))


def _size(plan: Plan) -> tuple[int, float]:
    """What makes one plan more than another."""
    return plan.grant_tenths, plan.price_usd


def _month_of(plan: Plan) -> str:
    return f"a month of {plan.id}"


def _plan(catalog: Catalog, storefront: str, plan: str) -> Plan:
    shop = catalog.storefronts.get(storefront)
    if shop is None:
        raise InvalidRequest(
            [FieldError("storefront", f"{storefront} is not in the catalogue any more.")]
        )
    if plan not in shop.plans:
        raise InvalidRequest([FieldError("plan", f"must be one of {', '.join(shop.plans)}.")])
    return shop.plans[plan]
