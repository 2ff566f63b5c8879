"""A small model of the books: accounts and jobs, and what each event makes of them.

Nothing here is changed in place: an event gives new books, so that one set of events can be
tried in every order.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farm.catalog import Catalog
from farm.types import Claim, JobState

PRICE = 30
GRANTS = {"free": 100, "starter": 160, "pro": 400}
"""Small enough that an account runs out of credits; in tenths, as everything here."""
TRIES_MAX = 3
DEATHS_MAX = 2


@dataclass(frozen=True)
class Book:
    """What an account should hold: what was granted and bought, kept apart."""

    plan: str = "free"
    next_plan: str | None = None
    granted: int = GRANTS["free"]
    bought: int = 0
    held: int = 0
    given: int = GRANTS["free"]
    """Monthly credits that this month has had."""
    is_over: bool = False
    """Whether its month has ended and waits for its renewal."""
    largest: int = field(default=GRANTS["free"], compare=False)
    """The most that any plan held in this month grants."""

    @property
    def available(self) -> int:
        """What a submit or a correction may take."""
        return self.granted + self.bought - self.held

    def hold(self, tenths: int) -> Book:
        """Negative where it is released."""
        return replace(self, held=self.held + tenths)

    def buy(self, tenths: int) -> Book:
        """Credits that do not expire."""
        return replace(self, bought=self.bought + tenths)

    def charge(self) -> Book:
        """One held job is paid; the grant is spent first."""
        from_grant = min(PRICE, self.granted)
        return replace(
            self,
            granted=self.granted - from_grant,
            bought=self.bought - (PRICE - from_grant),
            held=self.held - PRICE,
        )

    def take(self, tenths: int) -> Book:
        """A correction takes what was bought first."""
        from_bought = min(tenths, self.bought)
        return replace(
            self, bought=self.bought - from_bought, granted=self.granted - (tenths - from_bought)
        )

    def new_month(self) -> Book:
        """Of the old grant only what is held stays; a plan that was waiting begins."""
        plan = self.next_plan or self.plan
        given = GRANTS[plan]
        return replace(
            self,
            plan=plan,
            next_plan=None,
            granted=min(self.granted, self.held) + given,
            given=given,
            largest=given,
            is_over=False,
        )

    def change(self, plan: str, *, at_once: bool) -> Book:
        """More comes at once, for the difference; less at the month's end, or if at once out
        of what is neither spent nor held. A month that is over ends first."""
        if self.is_over:
            return self.new_month().change(plan, at_once=at_once)
        if GRANTS[plan] < GRANTS[self.plan] and not at_once:
            return replace(self, next_plan=plan)
        moved = 0
        if plan != self.plan:
            more = GRANTS[plan] - self.given
            free = max(self.granted - self.held, 0)
            moved = max(more, -free) if at_once else max(more, 0)
        return replace(
            self,
            plan=plan,
            next_plan=None,
            given=self.given + moved,
            granted=self.granted + moved,
            largest=max(self.largest, GRANTS[plan]),
        )


@dataclass(frozen=True)
class Job:
    """One job, as far as its money depends on it."""

    owner: uuid.UUID
    state: JobState = JobState.QUEUED
    attempt: int = 0
    handed_back: int = 0
    deaths: int = 0
    is_late: bool = False
    """Queued for too long, or running on a lease that ran out."""

    @property
    def has_tries(self) -> bool:
        """Whether an attempt more may follow one that broke."""
        return self.attempt - self.handed_back < TRIES_MAX

    @property
    def is_mortal(self) -> bool:
        """Whether one more dead worker ends it."""
        return self.deaths + 1 >= DEATHS_MAX


@dataclass(frozen=True)
class Books:
    """Every account and every job."""

    accounts: Mapping[uuid.UUID, Book] = field(default_factory=dict)
    jobs: Mapping[uuid.UUID, Job] = field(default_factory=dict)

    def with_account(self, account_id: uuid.UUID, book: Book) -> Books:
        """The same with another page for this account."""
        return replace(self, accounts={**self.accounts, account_id: book})

    def with_job(self, job_id: uuid.UUID, job: Job) -> Books:
        """The same with this job."""
        return replace(self, jobs={**self.jobs, job_id: job})

    def submitted(self, account_id: uuid.UUID, job_ids: tuple[uuid.UUID, ...]) -> Books:
        """New jobs, each holding its price."""
        book = self.accounts[account_id].hold(PRICE * len(job_ids))
        jobs = {**self.jobs, **{job_id: Job(account_id) for job_id in job_ids}}
        return replace(self.with_account(account_id, book), jobs=jobs)

    def ended(self, job_id: uuid.UUID, state: JobState) -> Books:
        """A live job's end: charged where it succeeded, else released."""
        job = self.jobs[job_id]
        book = self.accounts[job.owner]
        paid = book.charge() if state is JobState.SUCCEEDED else book.hold(-PRICE)
        done = replace(job, state=state, deaths=0, is_late=False)
        return self.with_job(job_id, done).with_account(job.owner, paid)

    def requeued(self, job_id: uuid.UUID, *, deaths: int = 0, handed_back: int = 0) -> Books:
        """A running job waits again."""
        job = self.jobs[job_id]
        waiting = replace(
            job,
            state=JobState.QUEUED,
            is_late=False,
            deaths=deaths,
            handed_back=job.handed_back + handed_back,
        )
        return self.with_job(job_id, waiting)

    def late(self, state: JobState) -> set[uuid.UUID]:
        """The jobs in this state that are late."""
        return {job_id for job_id, job in self.jobs.items() if job.state is state and job.is_late}

    def is_current(self, claim: Claim) -> bool:
        """Whether a claim is still its job's."""
        job = self.jobs[claim.job_id]
        return job.state is JobState.RUNNING and job.attempt == claim.attempt


def small_plans(catalog: Catalog) -> Catalog:
    """The catalogue with the plans of ``GRANTS`` alone."""
    shop = catalog.storefronts["pixelapi"]
    plans = {
        name: shop.plans[name].model_copy(update={"credits_month": tenths // 10})
        for name, tenths in GRANTS.items()
    }
    small = shop.model_copy(update={"plans": plans})
    return catalog.model_copy(update={"storefronts": {"pixelapi": small}})
