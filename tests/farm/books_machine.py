"""Events at the same time, on real PostgreSQL, against the books in every order they may have had.

A step lets one to four events happen at once, each in a thread and a session of its own. Then
the farm's rows are read back as books, and one of the orders in which the events may have
happened one after another must explain both the rows and every answer. Those books are the
next step's beginning.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from farm.services import Services
from farm.types import Claim, JobState
from tests import factories
from tests.farm.books import PRICE, Book, Books, small_plans
from tests.farm.books_read import read_books
from tests.farm.checks import assert_books_balance
from tests.farm.events import (
    Buy,
    Cancel,
    ChangePlan,
    Event,
    Expire,
    MonthEnd,
    Reap,
    Settle,
    Submit,
    Take,
    outcomes,
)

AT_ONCE_MAX = 4
ACCOUNTS = 2
_PLANS = ("free", "free", "starter", "pro")
"""Mostly small ones, so that credits stay short."""
_WORDS = ("succeed", "fail", "retry", "block", "hand_back", "heartbeat")

KINDS = (
    *("submit", "submit", "batch", "buy", "take back", "take", "take", "succeed", *_WORDS),
    *("cancel", "expire", "reap", "month end", "change plan"),
)
RACES = (
    "the last credit",
    "a batch and the last credits",
    "cancel and success",
    "cancel and start",
    "month end and charge",
    "two month ends and a plan",
    "two larger plans",
    "smaller plan and submit",
    "expiry and start",
    "reaper and late success",
    "an attempt that was overtaken",
    "hand back, cancel and success",
    "sweeps of two accounts",
)

Choice = tuple[str, int, int]
"""What happens, to which account, and any number for whatever else is to be chosen."""
_choices = st.tuples(st.sampled_from(KINDS), st.integers(0, 1), st.integers(0, 999))


@dataclass
class Figures:
    """What a run of the machine did."""

    seed: int
    lives: int = 0
    """Pairs of accounts, each with a history of its own."""
    steps: int = 0
    at_once: int = 0
    """Steps in which several events happened at the same time."""
    reordered: int = 0
    """Of those: explained only by another order than the one they were started in."""
    events: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line."""
        return (
            f"seed {self.seed}: {self.lives} pairs of accounts, {self.steps} steps, "
            f"{self.events.total()} events, {self.at_once} times several at once, "
            f"{self.reordered} times in another order; {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class Trial:
    """What every life of one run shares."""

    services: Services
    pool: ThreadPoolExecutor
    figures: Figures
    failures: list[Exception] = field(default_factory=list)
    """What went wrong, first of all: hypothesis repeats a failing life, which then goes another
    way and is reported instead."""


class BooksMachine(RuleBasedStateMachine):
    """Two accounts with one history."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self.trial = trial
        self.services = trial.services
        self.books = Books()
        self.who: list[factories.Customer] = []
        self.claims: list[Claim] = []

    @initialize()
    def begin(self) -> None:
        """Accounts on the free plan."""
        self.trial.figures.lives += 1
        self.who = [factories.customer(self.services) for _ in range(ACCOUNTS)]
        for who in self.who:
            self.books = self.books.with_account(who.account_id, Book())

    @rule(choice=_choices)
    def alone(self, choice: Choice) -> None:
        """One event, whose answer and effect are then the only ones possible."""
        self.happen(self.events_of([choice]))

    @rule(choices=st.lists(_choices, min_size=2, max_size=AT_ONCE_MAX))
    def together(self, choices: list[Choice]) -> None:
        """Any events at the same time."""
        self.happen(self.events_of(choices))

    @rule(race=st.sampled_from(RACES), account=st.integers(0, 1), number=st.integers(0, 999))
    def race(self, race: str, account: int, number: int) -> None:
        """Events that want the same row, started at the same time."""
        self.happen(self.race_of(race, account, number))

    def teardown(self) -> None:
        """Everything ends, nothing is held any more, and the books balance."""
        for job_id, job in self.books.jobs.items():
            if not job.state.is_terminal:
                self.happen([Cancel(job.owner, job_id)])
        if self.who:
            self.happen([MonthEnd(())])
        assert all(book.held == 0 for book in self.books.accounts.values())
        assert_books_balance(self.services)

    # What happens, and whether it can have -------------------------------------------------

    def happen(self, events: Sequence[Event]) -> list[Any]:
        """Let events happen at once, and go on with the books of an order that explains them."""
        try:
            return self.step(events) if events else []
        except Exception as error:
            self.trial.failures.append(error)
            raise

    def step(self, events: Sequence[Event]) -> list[Any]:
        """One step. Raises AssertionError where no order explains it."""
        figures = self.trial.figures
        for event in events:
            self.books = event.arrange(self.services, self.books)
        before = self.books
        answers = self.answers(events)
        self.claims += [answer for answer in answers if isinstance(answer, Claim)]
        found = read_books(self.services, [who.account_id for who in self.who])
        happened = list(zip(events, answers, strict=True))
        orders = enumerate(outcomes(before, happened))
        number, possible = next((each for each in orders if each[1] == found), (0, None))
        if possible is None:
            told = "\n".join(f"  {event} -> {answer}" for event, answer in happened)
            raise AssertionError(f"no order explains\n{told}\nfrom {before}\nto {found}")
        self.books = possible
        assert all(
            min(book.available, book.held, book.granted, book.bought) >= 0
            and book.given <= book.largest
            for book in possible.accounts.values()
        )
        figures.steps += 1
        figures.at_once += len(events) > 1
        figures.reordered += number > 0
        figures.events.update(type(event).__name__ for event in events)
        return answers

    def answers(self, events: Sequence[Event]) -> list[Any]:
        """What each event answers, all of them started at the same moment."""
        if len(events) == 1:
            return [events[0].happen(self.services)]
        start = threading.Barrier(len(events))

        def one(event: Event) -> Any:
            start.wait(timeout=60)
            return event.happen(self.services)

        return list(self.trial.pool.map(one, events))

    # What to let happen ---------------------------------------------------------------------

    def events_of(self, choices: Sequence[Choice]) -> list[Event]:
        """The events of these choices; one that finds no job to happen to is left out."""
        found = (self.event_of(*choice) for choice in choices)
        return [event for event in found if event is not None]

    def event_of(self, kind: str, account: int, number: int) -> Event | None:
        """One event, or None where there is nothing for it to happen to."""
        who = self.who[account]
        tenths = number % 100 + 1
        events: dict[str, Callable[[], Event | None]] = {
            "submit": lambda: self.submit(account, 1),
            "batch": lambda: self.submit(account, 2 + number % 2),
            "buy": lambda: Buy(who.account_id, tenths),
            "take back": lambda: Buy(who.account_id, -tenths),
            "month end": lambda: MonthEnd((who.account_id,)),
            "change plan": lambda: self.change_plan(account, number),
            "take": lambda: _if_any(Take, _pick(self.jobs(*_LIVE), number)),
            "cancel": lambda: self.cancel(number),
            "expire": lambda: Expire(tuple(self.jobs(JobState.QUEUED)[: number % 4])),
            "reap": lambda: Reap(tuple(self.jobs(JobState.RUNNING)[: number % 4])),
        }
        if kind in events:
            return events[kind]()
        # Of the newest claims, so that some have been overtaken.
        claim = _pick(self.claims[-6:], number)
        return self.settled(claim, kind) if claim else None

    def submit(self, account: int, size: int) -> Submit:
        """New jobs, as many."""
        return Submit(self.who[account], tuple(uuid.uuid4() for _ in range(size)))

    def change_plan(self, account: int, number: int) -> ChangePlan:
        """To any plan; often at once."""
        name = self.who[account].account_id
        return ChangePlan(name, _PLANS[number % 4], at_once=number % 3 == 0)

    def cancel(self, number: int) -> Cancel | None:
        """By the customer or the operator; now and then of a job that has ended."""
        job_id = _pick(self.jobs() if number % 5 == 0 else self.jobs(*_LIVE), number)
        if job_id is None:
            return None
        return Cancel(self.books.jobs[job_id].owner if number % 2 else None, job_id)

    def settled(self, claim: Claim, word: str) -> Settle:
        """A worker's word; what it made is stored before it speaks."""
        output = factories.stored(self.services, claim) if word == "succeed" else None
        return Settle(claim, word, output)

    def race_of(self, race: str, account: int, number: int) -> list[Event]:
        """The events of a race, once everything is there that they need."""
        name = self.who[account].account_id
        if race in ("the last credit", "a batch and the last credits"):
            sizes = (1, 1, 1) if race == "the last credit" else (2, 1, 3)
            self.happen([Buy(name, sizes[-1] * PRICE + number % PRICE - self.available(name))])
            return [self.submit(account, size) for size in sizes]
        if race == "smaller plan and submit":
            return [ChangePlan(name, "free", at_once=True), self.submit(account, 1)]
        if race == "two month ends and a plan":
            both = tuple(each.account_id for each in self.who)
            return [MonthEnd(both), MonthEnd(both), self.change_plan(account, number)]
        if race == "two larger plans":
            self.happen([ChangePlan(name, "free", at_once=True)])
            return [ChangePlan(name, plan, at_once=False) for plan in ("pro", "starter", "pro")]
        if race == "sweeps of two accounts":
            return self.sweeps()
        return self.race_for(race, account, self.queued(account), number)

    def race_for(self, race: str, account: int, job_id: uuid.UUID, number: int) -> list[Event]:
        """The events of a race for one job."""
        name = self.who[account].account_id
        if race == "cancel and start":
            return [Cancel(name, job_id), Take(job_id)]
        if race == "expiry and start":
            return [Expire((job_id,)), Take(job_id), MonthEnd((name,))]
        claim = self.running(job_id)
        if race == "an attempt that was overtaken":
            return self.overtaken(claim, number)
        success = self.settled(claim, "succeed")
        rivals: dict[str, list[Event]] = {
            "cancel and success": [Cancel(claim.account_id, claim.job_id)],
            "month end and charge": [MonthEnd((claim.account_id,)), self.submit(account, 1)],
            "reaper and late success": [Reap((claim.job_id,)), Take(claim.job_id)],
            "hand back, cancel and success": [
                Settle(claim, "hand_back"),
                Cancel(None, claim.job_id),
            ],
        }
        return [success, *rivals[race]]

    def overtaken(self, claim: Claim, number: int) -> list[Event]:
        """What a worker says after all, whose job another one took over and mostly still runs."""
        self.books = Reap((claim.job_id,)).arrange(self.services, self.books)
        (newer,) = self.happen([Take(claim.job_id)])
        late = [self.settled(claim, _WORDS[(number + more) % len(_WORDS)]) for more in range(3)]
        if newer is None or number % 3:
            return list(late)
        return [*late, self.settled(newer, "succeed")]

    def sweeps(self) -> list[Event]:
        """Two sweeps that end jobs of both accounts, in opposite orders."""
        queued = [self.queued(account) for account in (0, 1, 1, 0)]
        return [Expire(tuple(queued[:2])), Expire(tuple(queued[2:])), Reap(())]

    def queued(self, account: int) -> uuid.UUID:
        """A job of this account that waits: a new one where there is credit for it."""
        name = self.who[account].account_id
        if (missing := PRICE - self.available(name)) > 0:
            self.happen([Buy(name, missing)])
        submit = self.submit(account, 1)
        assert self.happen([submit]) == [True]
        return submit.job_ids[0]

    def running(self, job_id: uuid.UUID) -> Claim:
        """The claim of a worker that took a message of this job; perhaps on one before it."""
        (claim,) = self.happen([Take(job_id)])
        assert claim is not None
        return claim

    def jobs(self, *states: JobState) -> list[uuid.UUID]:
        """The jobs in these states, or all of them; the newest few, so that events meet."""
        found = self.books.jobs.items()
        return [job_id for job_id, job in found if not states or job.state in states][-3:]

    def available(self, account_id: uuid.UUID) -> int:
        """What the account can spend."""
        return self.books.accounts[account_id].available


_LIVE = (JobState.QUEUED, JobState.RUNNING)


def _pick(items: Sequence[Any], number: int) -> Any:
    return items[number % len(items)] if items else None


def _if_any(event: Callable[[uuid.UUID], Event], job_id: uuid.UUID | None) -> Event | None:
    return event(job_id) if job_id else None


def run_machine(
    services: Services, *, examples: int = 20, steps: int = 20, seed: int = 1
) -> Figures:
    """Run that many lives of that many steps each. AssertionError says what cannot have been.

    Args:
        services: of a farm in which nothing else happens and nothing waits.
        seed: what happens is drawn from it; how it interleaves is not.
    """
    figures = Figures(seed)
    small = replace(services, catalog=small_plans(services.catalog))
    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE_MAX) as pool:
        trial = Trial(small, pool, figures)

        @hypothesis.seed(seed)
        def machine() -> BooksMachine:
            return BooksMachine(trial)

        chosen = hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            # What depends on the moment cannot be made smaller by trying it again.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(machine, settings=chosen)  # type: ignore[arg-type]
        except Exception:
            for failure in trial.failures[:1]:
                raise failure from None
            raise
    figures.seconds = time.monotonic() - started
    return figures
