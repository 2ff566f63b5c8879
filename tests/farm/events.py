"""What may happen to the books: each event on a real farm, and what it may make of the model.

An event is arranged first (a lease runs out, a month is over), alone. Then it happens, perhaps
beside others, and gives an answer. Then the model is asked: to which books may the event have
led, given that answer?
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from farm import accounts, jobs, ledger, settle
from farm.batches import submit_batch
from farm.errors import InsufficientCredits, Overloaded
from farm.services import Services
from farm.submit import submit
from farm.types import Claim, JobState, StoredOutput
from tests import factories
from tests.farm.books import PRICE, TRIES_MAX, Book, Books
from tests.farm.checks import run

LEASE_S = 600.0
"""Nothing runs out by itself while a test runs."""
START_WITHIN_S = 3600.0


class Event(Protocol):
    """One thing that happens."""

    def arrange(self, services: Services, books: Books) -> Books:
        """What must be so before it, on the farm and in its books."""
        return books

    def happen(self, services: Services) -> Any:
        """Do it; the answer."""

    def after(self, books: Books, answer: Any, *, alone: bool) -> Iterator[Books]:
        """The books it may leave, none where it cannot have had this answer.

        ``alone`` is true where nothing happened at the same time. What sweeps may pass over
        a row that somebody else has locked; alone it must not.
        """


@dataclass(frozen=True)
class Buy(Event):
    """Credits that do not expire; fewer than none is a correction, refused where they are
    not available."""

    account_id: uuid.UUID
    tenths: int

    def happen(self, services: Services) -> bool:
        """Whether it was done."""
        try:
            with services.db.transaction() as connection:
                ledger.grant(
                    connection, self.account_id, self.tenths, reason="a test", kind="adjust"
                )
        except InsufficientCredits:
            return False
        return True

    def after(self, books: Books, answer: bool, *, alone: bool) -> Iterator[Books]:
        """More credits; or fewer, of those that are available."""
        book = books.accounts[self.account_id]
        if answer is (-self.tenths <= book.available):
            changed = book.buy(self.tenths) if self.tenths > 0 else book.take(-self.tenths)
            yield books.with_account(self.account_id, changed) if answer else books


@dataclass(frozen=True)
class Submit(Event):
    """One job, or a batch that is written whole or not at all."""

    who: factories.Customer
    job_ids: tuple[uuid.UUID, ...]

    def happen(self, services: Services) -> bool | None:
        """Whether it was accepted; None where it was told to come again."""
        new_id = iter(self.job_ids).__next__
        try:
            if len(self.job_ids) == 1:
                submit(services, self.who.principal, factories.request(), new_id=new_id)
            else:
                requests = [factories.request() for _ in self.job_ids]
                submit_batch(services, self.who.principal, requests, new_id=new_id)
        except InsufficientCredits:
            return False
        except Overloaded:
            return None
        return True

    def after(self, books: Books, answer: bool | None, *, alone: bool) -> Iterator[Books]:
        """Accepted exactly where the price of all is available."""
        account_id = self.who.account_id
        if answer is None:
            if not alone:
                yield books
        elif answer is (PRICE * len(self.job_ids) <= books.accounts[account_id].available):
            yield books.submitted(account_id, self.job_ids) if answer else books


@dataclass(frozen=True)
class Take(Event):
    """A worker takes a message of this job."""

    job_id: uuid.UUID

    def happen(self, services: Services) -> Claim | None:
        """The claim; it may be on another job that waits in the same queue."""
        return jobs.claim(services.db, self.job_id, "test-worker", LEASE_S, TRIES_MAX)

    def after(self, books: Books, answer: Claim | None, *, alone: bool) -> Iterator[Books]:
        """A job that waits, or the message's own where its worker fell silent, runs."""
        own = books.jobs.get(self.job_id)
        is_lapsed = own is not None and self.job_id in books.late(JobState.RUNNING)
        may_take_over = own is not None and is_lapsed and own.has_tries and not own.is_mortal
        if answer is None:
            if not alone or not (may_take_over or (own and own.state is JobState.QUEUED)):
                yield books
            return
        job = books.jobs.get(answer.job_id)
        if job is None:
            # It is submitted at the same time, and in this order only later.
            return
        taken_over = answer.job_id == self.job_id and may_take_over
        if answer.attempt == job.attempt + 1 and (job.state is JobState.QUEUED or taken_over):
            yield books.with_job(
                answer.job_id,
                replace(
                    job,
                    state=JobState.RUNNING,
                    attempt=answer.attempt,
                    deaths=job.deaths + taken_over,
                    is_late=False,
                ),
            )


@dataclass(frozen=True)
class Settle(Event):
    """A worker's word on its attempt: ``succeed``, ``fail``, ``retry``, ``block``,
    ``hand_back`` or ``heartbeat``. It counts while the attempt is the job's."""

    claim: Claim
    word: str
    output: StoredOutput | None = None

    def happen(self, services: Services) -> JobState | None:
        """The state it led to; None where the attempt was no longer the job's."""
        db, claim = services.db, self.claim
        if self.word == "succeed":
            output = self.output
            assert output is not None
            how = {"facts": {}, "served_by": "test", "processing_ms": 1, "ttl_s": 3600.0}
            done = settle.succeed(db, claim, output, **how)  # type: ignore[arg-type]
            return JobState.SUCCEEDED if done else None
        if self.word in ("fail", "retry"):
            return factories.fail(services, claim, retry=self.word == "retry")
        if self.word == "block":
            done = settle.block(db, claim, "result_refused", "Refused.")
            return JobState.BLOCKED if done else None
        if self.word == "hand_back":
            return JobState.QUEUED if jobs.hand_back(db, claim.job_id, claim.attempt) else None
        beat = jobs.heartbeat(db, claim.job_id, claim.attempt, LEASE_S, 1, 2)
        return JobState.RUNNING if beat else None

    def after(self, books: Books, answer: JobState | None, *, alone: bool) -> Iterator[Books]:
        """Charged where it succeeded, released where it ended otherwise."""
        job = books.jobs[self.claim.job_id]
        led_to = {
            "succeed": JobState.SUCCEEDED,
            "fail": JobState.FAILED,
            "retry": JobState.QUEUED if job.has_tries else JobState.FAILED,
            "block": JobState.BLOCKED,
            "hand_back": JobState.QUEUED,
            "heartbeat": JobState.RUNNING,
        }[self.word]
        if not books.is_current(self.claim):
            led_to = None  # type: ignore[assignment]
        if answer is not led_to:
            return
        if answer is None:
            yield books
        elif answer is JobState.RUNNING:
            yield books.with_job(self.claim.job_id, replace(job, is_late=False))
        elif self.word == "hand_back":
            yield books.requeued(self.claim.job_id, deaths=job.deaths, handed_back=1)
        elif answer is JobState.QUEUED:
            yield books.requeued(self.claim.job_id)
        else:
            yield books.ended(self.claim.job_id, answer)


@dataclass(frozen=True)
class Cancel(Event):
    """The customer, or (account None) the operator, gives a job up."""

    account_id: uuid.UUID | None
    job_id: uuid.UUID

    def happen(self, services: Services) -> JobState:
        """The state the job is in afterwards."""
        return settle.cancel(services.db, self.account_id, self.job_id)

    def after(self, books: Books, answer: JobState, *, alone: bool) -> Iterator[Books]:
        """Cancelled, unless it had ended before."""
        state = books.jobs[self.job_id].state
        if answer is (state if state.is_terminal else JobState.CANCELLED):
            yield books if state.is_terminal else books.ended(self.job_id, answer)


@dataclass(frozen=True)
class Expire(Event):
    """Jobs that waited too long are swept; first these are made to have."""

    job_ids: tuple[uuid.UUID, ...]

    def arrange(self, services: Services, books: Books) -> Books:
        """Those of them that wait have waited too long."""
        for number, job_id in enumerate(self.job_ids):
            if books.jobs[job_id].state is JobState.QUEUED:
                # No longer than the audit lets a job wait that is about to be swept.
                waited = "UPDATE jobs SET queued_at = now() - :s * interval '1 second'"
                run(services, f"{waited} WHERE id = :id", s=START_WITHIN_S + 60 - number, id=job_id)
                books = books.with_job(job_id, replace(books.jobs[job_id], is_late=True))
        return books

    def happen(self, services: Services) -> set[uuid.UUID]:
        """Which were swept."""
        return set(settle.expire_queued(services.db, START_WITHIN_S))

    def after(self, books: Books, answer: set[uuid.UUID], *, alone: bool) -> Iterator[Books]:
        """Each gets its hold back."""
        late = books.late(JobState.QUEUED)
        if answer == late or (answer < late and not alone):
            for job_id in answer:
                books = books.ended(job_id, JobState.EXPIRED)
            yield books


@dataclass(frozen=True)
class Reap(Event):
    """Jobs whose lease ran out are taken back; first these are made to be such."""

    job_ids: tuple[uuid.UUID, ...]

    def arrange(self, services: Services, books: Books) -> Books:
        """The workers of those that run have been silent for too long."""
        for number, job_id in enumerate(self.job_ids):
            if books.jobs[job_id].state is JobState.RUNNING:
                silent = "UPDATE jobs SET lease_until = now() - :s * interval '1 second'"
                run(services, f"{silent} WHERE id = :id", s=20 - number, id=job_id)
                books = books.with_job(job_id, replace(books.jobs[job_id], is_late=True))
        return books

    def happen(self, services: Services) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
        """Which wait again, and which ended."""
        reaped = settle.reap(services.db, TRIES_MAX)
        return {ring.job_id for ring in reaped.rings}, set(reaped.ended)

    def after(
        self, books: Books, answer: tuple[set[uuid.UUID], set[uuid.UUID]], *, alone: bool
    ) -> Iterator[Books]:
        """Once more to the queue, where there are tries and it is not the second death."""
        late = books.late(JobState.RUNNING)
        doomed = {each for each in late if books.jobs[each].is_mortal}
        doomed |= {each for each in late if not books.jobs[each].has_tries}
        again, ended = answer
        if not (ended <= doomed and again <= late - doomed):
            return
        if alone and again | ended != late:
            return
        for job_id in again:
            books = books.requeued(job_id, deaths=books.jobs[job_id].deaths + 1)
        for job_id in ended:
            books = books.ended(job_id, JobState.FAILED)
        yield books


@dataclass(frozen=True)
class MonthEnd(Event):
    """A round of renewals; first the months of these accounts are over."""

    account_ids: tuple[uuid.UUID, ...]

    def arrange(self, services: Services, books: Books) -> Books:
        """Their months are over."""
        for account_id in self.account_ids:
            over = "UPDATE accounts SET period_end = now() - interval '1 second' WHERE id = :id"
            run(services, over, id=account_id)
            book = replace(books.accounts[account_id], is_over=True)
            books = books.with_account(account_id, book)
        return books

    def happen(self, services: Services) -> int:
        """How many were renewed."""
        with services.db.transaction() as connection:
            return accounts.renew_due_accounts(connection, services.catalog)

    def after(self, books: Books, answer: int, *, alone: bool) -> Iterator[Books]:
        """Some of those whose month is over begin another; alone, all of them do."""
        over = [account_id for account_id, book in books.accounts.items() if book.is_over]
        if alone and answer != len(over):
            return
        for renewed in itertools.combinations(over, answer):
            found = books
            for account_id in renewed:
                found = found.with_account(account_id, books.accounts[account_id].new_month())
            yield found


@dataclass(frozen=True)
class ChangePlan(Event):
    """The account moves to another plan."""

    account_id: uuid.UUID
    plan: str
    at_once: bool

    def happen(self, services: Services) -> Book:
        """The account's page as the change left it."""
        with services.db.transaction() as connection:
            account = accounts.change_plan(
                connection, services.catalog, self.account_id, self.plan, at_once=self.at_once
            ).account
        return Book(
            account.plan,
            account.next_plan,
            account.grant_tenths,
            account.posted_tenths - account.grant_tenths,
            account.held_tenths,
            account.granted_tenths,
        )

    def after(self, books: Books, answer: Book, *, alone: bool) -> Iterator[Books]:
        """What it granted or took back is in its answer."""
        book = books.accounts[self.account_id].change(self.plan, at_once=self.at_once)
        if book == answer:
            yield books.with_account(self.account_id, book)


def outcomes(books: Books, happened: list[tuple[Event, Any]]) -> Iterator[Books]:
    """The books that each order of the events leaves, where every answer fits; the order in
    which they were started comes first."""
    alone = len(happened) == 1

    def orders(found: Books, left: list[tuple[Event, Any]]) -> Iterator[Books]:
        if not left:
            yield found
        for place, (event, answer) in enumerate(left):
            rest = left[:place] + left[place + 1 :]
            for after in event.after(found, answer, alone=alone):
                yield from orders(after, rest)

    return orders(books, happened)
