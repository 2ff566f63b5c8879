"""A small model of one account's books, and a farm that does each event to both."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import TypeVar

from farm import accounts, jobs, ledger, settle
from farm.catalog import Catalog
from farm.errors import InsufficientCredits
from farm.services import Services
from farm.types import Claim, JobState
from tests import factories
from tests.farm.checks import run, scalar

T = TypeVar("T")

PRICE = 30
GRANTS = {"free": 100, "starter": 160, "pro": 400}
"""Small enough that an account runs out of credits; in tenths, as everything here."""

EVENTS = (
    "buy",
    "take_back",
    "submit",
    "claim",
    "succeed",
    "fail",
    "block",
    "cancel",
    "hand_back",
    "expire",
    "renew",
    "change_plan",
    "change_plan_at_once",
)


@dataclass
class Book:
    """What an account should hold: what was granted and bought, kept apart, and its jobs."""

    plan: str = "free"
    next_plan: str | None = None
    granted: int = GRANTS["free"]
    bought: int = 0
    given: int = GRANTS["free"]
    """Monthly credits that this month has had."""
    largest: int = GRANTS["free"]
    """The most that any plan held in this month grants."""
    queued: list[uuid.UUID] = field(default_factory=list)
    running: list[Claim] = field(default_factory=list)

    @property
    def held(self) -> int:
        """Every live job holds its price."""
        return PRICE * (len(self.queued) + len(self.running))

    @property
    def available(self) -> int:
        """What a submit or a correction may take."""
        return self.granted + self.bought - self.held

    @property
    def amounts(self) -> tuple[int, int, int]:
        """(posted, held, grant left), as the database should have them."""
        return self.granted + self.bought, self.held, self.granted

    def charge(self) -> None:
        """The grant is spent first."""
        from_grant = min(PRICE, self.granted)
        self.granted -= from_grant
        self.bought -= PRICE - from_grant

    def take(self, tenths: int) -> None:
        """A correction takes what was bought first."""
        from_bought = min(tenths, self.bought)
        self.bought -= from_bought
        self.granted -= tenths - from_bought

    def new_month(self) -> None:
        """Of the old grant only what is held stays; a plan that was waiting begins."""
        self.plan, self.next_plan = self.next_plan or self.plan, None
        self.given = self.largest = GRANTS[self.plan]
        self.granted = min(self.granted, self.held) + self.given

    def change(self, plan: str, *, at_once: bool) -> None:
        """More comes at once, for the difference; less at the month's end, or if at once out
        of what is neither spent nor held."""
        self.next_plan = None
        if GRANTS[plan] < GRANTS[self.plan] and not at_once:
            self.next_plan = plan
            return
        if plan != self.plan:
            more = GRANTS[plan] - self.given
            free = max(self.granted - self.held, 0)
            moved = max(more, -free) if at_once else max(more, 0)
            self.given += moved
            self.granted += moved
        self.plan = plan
        self.largest = max(self.largest, GRANTS[plan])


def small_plans(catalog: Catalog) -> Catalog:
    """The catalogue with the plans of ``GRANTS`` alone."""
    shop = catalog.storefronts["pixelapi"]
    plans = {
        name: shop.plans[name].model_copy(update={"credits_month": tenths // 10})
        for name, tenths in GRANTS.items()
    }
    small = shop.model_copy(update={"plans": plans})
    return catalog.model_copy(update={"storefronts": {"pixelapi": small}})


class Ledgered:
    """One account of a real farm beside its book. Each event takes any number as its choice."""

    def __init__(self, services: Services) -> None:
        self.services = replace(services, catalog=small_plans(services.catalog))
        self.who = factories.customer(self.services)
        self.book = Book()
        self.month_began = 0
        """The last ledger entry before this month's."""

    def do(self, event: str, choice: int) -> None:
        """Make one event happen; one that finds no job to happen to does nothing."""
        getattr(self, event)(choice)

    def buy(self, choice: int) -> None:
        """1 to 100 tenths that do not expire."""
        tenths = choice % 100 + 1
        with self.services.db.transaction() as connection:
            ledger.grant(connection, self.who.account_id, tenths, reason="bought")
        self.book.bought += tenths

    def take_back(self, choice: int) -> None:
        """A correction by 1 to 100 tenths, refused where they are not available."""
        tenths = choice % 100 + 1
        fits = tenths <= self.book.available
        try:
            with self.services.db.transaction() as connection:
                ledger.grant(
                    connection, self.who.account_id, -tenths, reason="a slip", kind="adjust"
                )
        except InsufficientCredits:
            assert not fits
            return
        assert fits
        self.book.take(tenths)

    def submit(self, choice: int) -> None:
        """A job, refused where its price is not available."""
        fits = self.book.available >= PRICE
        try:
            job_id = factories.submitted(self.services, self.who)
        except InsufficientCredits:
            assert not fits
            return
        assert fits
        self.book.queued.append(job_id)

    def claim(self, choice: int) -> None:
        """A worker takes a queued job."""
        if job_id := _pop(self.book.queued, choice):
            self.book.running.append(factories.claimed(self.services, job_id))

    def succeed(self, choice: int) -> None:
        """A running job ends well, and only once."""
        if claim := _pop(self.book.running, choice):
            assert factories.succeed(self.services, claim)
            assert factories.fail(self.services, claim) is None
            self.book.charge()

    def fail(self, choice: int) -> None:
        """A running job ends badly, and only once."""
        if claim := _pop(self.book.running, choice):
            assert factories.fail(self.services, claim) is JobState.FAILED
            assert not factories.succeed(self.services, claim)

    def block(self, choice: int) -> None:
        """A running job's result is refused, and only once."""
        if claim := _pop(self.book.running, choice):
            assert settle.block(self.services.db, claim, "result_refused", "Refused.")
            assert not factories.succeed(self.services, claim)

    def cancel(self, choice: int) -> None:
        """The customer gives up a queued job (even) or a running one (odd), and only once."""
        claim = _pop(self.book.running, choice) if choice % 2 else None
        job_id = claim.job_id if claim else _pop(self.book.queued, choice)
        if job_id:
            for _ in range(2):
                state = settle.cancel(self.services.db, self.who.account_id, job_id)
                assert state is JobState.CANCELLED

    def hand_back(self, choice: int) -> None:
        """A worker that stops puts its job back: nothing is paid and nothing given back."""
        if claim := _pop(self.book.running, choice):
            assert jobs.hand_back(self.services.db, claim.job_id, claim.attempt)
            self.book.queued.append(claim.job_id)

    def expire(self, choice: int) -> None:
        """A queued job was not started in time."""
        if job_id := _pop(self.book.queued, choice):
            long_ago = "UPDATE jobs SET queued_at = now() - interval '2 hours' WHERE id = :id"
            run(self.services, long_ago, id=job_id)
            assert len(settle.expire_queued(self.services.db, 3600)) == 1

    def renew(self, choice: int) -> None:
        """The account's month ends."""
        over = "UPDATE accounts SET period_end = now() - interval '1 second' WHERE id = :id"
        run(self.services, over, id=self.who.account_id)
        self.month_began = scalar(self.services, "SELECT max(id) FROM entries")
        with self.services.db.transaction() as connection:
            assert accounts.renew_due_accounts(connection, self.services.catalog) == 1
        self.book.new_month()

    def change_plan(self, choice: int, *, at_once: bool = False) -> None:
        """To any plan, mostly a small one, so that credits stay short."""
        plan = ("free", "free", "starter", "pro")[choice % 4]
        with self.services.db.transaction() as connection:
            accounts.change_plan(
                connection, self.services.catalog, self.who.account_id, plan, at_once=at_once
            )
        self.book.change(plan, at_once=at_once)

    def change_plan_at_once(self, choice: int) -> None:
        """To any plan, without waiting for the month's end where it is a smaller one."""
        self.change_plan(choice, at_once=True)

    def granted_this_month(self) -> int:
        """By the ledger: monthly credits given since the month began, less what changes of
        plan took back."""
        return int(
            scalar(
                self.services,
                "SELECT coalesce(sum(amount), 0) FROM entries WHERE account_id = :id "
                "AND book = 'available' AND id > :began "
                "AND (kind = 'grant' OR (kind = 'expire' AND reason <> 'the month ended'))",
                id=self.who.account_id,
                began=self.month_began,
            )
        )


def _pop(items: list[T], choice: int) -> T | None:
    return items.pop(choice % len(items)) if items else None
