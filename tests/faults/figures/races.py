"""Races over one account and over one job, as often as one likes: exact counts, or it fails.

Each gives figures, and raises AssertionError at the first round that ended as none should.
"""

from __future__ import annotations

import functools
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from farm import jobs, ledger, settle
from farm.services import Services
from farm.types import Claim, JobState
from tests import factories
from tests.farm.checks import amounts, assert_books_balance, scalar

T = TypeVar("T")

PRICE = 30
"""Tenths of a credit for a picture of ``sdxl`` and of ``flux-schnell``."""
_BODY = (
    b'{"model": "flux-schnell", "prompt": "a red circle", "width": 512, "height": 512, "steps": 1}'
)
_TIMEOUT_S = 60.0


def at_once(pool: ThreadPoolExecutor, works: Sequence[Callable[[], T]]) -> list[T]:
    """What each of them returns, all started at the same moment."""
    start = threading.Barrier(len(works))

    def one(work: Callable[[], T]) -> T:
        start.wait(timeout=_TIMEOUT_S)
        return work()

    return list(pool.map(one, works))


# Many clients, one account ------------------------------------------------------------------


@dataclass(frozen=True)
class Overdraft:
    """What the clients got, over all rounds."""

    clients: int
    rounds: int
    accepted: int
    refused: int
    below_zero: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.clients} clients x {self.rounds} rounds: {self.accepted} accepted, "
            f"{self.refused} refused with 402, {self.below_zero} accounts below zero; "
            f"{self.seconds:.1f} s"
        )


def overdraft(
    services: Services, url: str, *, clients: int = 64, rounds: int = 200, seed: int = 1
) -> Overdraft:
    """Each round, so many clients submit at once for an account that can pay a few of them.

    The jobs are given up after each round, so that no queue grows long: no worker must run.

    Args:
        services: of the farm that serves at ``url``, whose rate limits allow that many submits
            of one account (each round has another account, on the plan ``scale``).
    """
    choose, started = random.Random(seed), time.monotonic()
    total: Counter[int] = Counter()
    with ThreadPoolExecutor(clients) as pool:
        for number in range(rounds):
            affordable = choose.randrange(min(clients, 24))
            who = _with_credit_for(services, affordable, choose.randrange(PRICE))
            answers = Counter(at_once(pool, [functools.partial(_submit, url, who)] * clients))
            expected = Counter({200: affordable, 402: clients - affordable})
            assert answers == expected, f"round {number}: {dict(answers)}, not {dict(expected)}"
            total += answers
            _assert_holds(services, who, affordable)
    below_zero = scalar(services, "SELECT count(*) FROM accounts WHERE posted < held OR held < 0")
    assert below_zero == 0
    assert_books_balance(services)
    seconds = time.monotonic() - started
    return Overdraft(clients, rounds, total[200], total[402], below_zero, seconds)


def _with_credit_for(services: Services, jobs_: int, spare_tenths: int) -> factories.Customer:
    who = factories.customer(services, plan="scale")
    surplus = amounts(services, who.account_id)[0] - jobs_ * PRICE - spare_tenths
    with services.db.transaction() as connection:
        ledger.grant(connection, who.account_id, -surplus, reason="for the race", kind="adjust")
    return who


def _submit(url: str, who: factories.Customer) -> int:
    """The status of one submit."""
    request = urllib.request.Request(
        f"{url}/v1/image/generate",
        method="POST",
        data=_BODY,
        headers={"Authorization": f"Bearer {who.key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
            reply.read()
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            error.read()
            return error.code


def _assert_holds(services: Services, who: factories.Customer, expected: int) -> None:
    """As many jobs as were paid for hold their price; then they are given up."""
    sql = "SELECT array_agg(id) FROM jobs WHERE account_id = :id"
    job_ids = scalar(services, sql, id=who.account_id) or []
    assert len(job_ids) == expected
    posted, held, _ = amounts(services, who.account_id)
    assert held == expected * PRICE
    assert 0 <= posted - held < PRICE
    for job_id in job_ids:
        assert settle.cancel(services.db, who.account_id, job_id) is JobState.CANCELLED
    assert amounts(services, who.account_id)[:2] == (posted, 0)


# Two ends of one job ------------------------------------------------------------------------


@dataclass(frozen=True)
class Ends:
    """How often either side came first."""

    rounds: int
    succeeded: int
    cancelled: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.rounds} cancels against success: {self.succeeded} succeeded and were charged, "
            f"{self.cancelled} were cancelled and cost nothing; {self.seconds:.1f} s"
        )


def cancel_against_success(services: Services, *, rounds: int = 1000, seed: int = 1) -> Ends:
    """A customer gives a job up at the moment at which its worker settles it.

    In half of the rounds one of the two starts up to a millisecond later, so that either wins.
    No worker must run.
    """
    choose, started = random.Random(seed), time.monotonic()
    who = factories.customer(services, extra_credits=3.0 * rounds)
    ended: Counter[JobState] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            claim = factories.claimed(services, factories.submitted(services, who))
            pauses_s = [0.0, 0.0]
            pauses_s[number % 2] = choose.choice((0.0, choose.random() / 1000))
            before = amounts(services, who.account_id)[0]
            won, state = _both_ends(services, pool, claim, pauses_s)
            assert state is (JobState.SUCCEEDED if won else JobState.CANCELLED), number
            stored = scalar(services, "SELECT state FROM jobs WHERE id = :id", id=claim.job_id)
            assert JobState(stored) is state, f"round {number}: {stored}, not {state}"
            paid = PRICE if won else 0
            assert amounts(services, who.account_id)[:2] == (before - paid, 0), number
            ended[state] += 1
    assert_books_balance(services)
    charges = "SELECT count(*) FROM entries WHERE account_id = :id AND kind = 'charge'"
    charged = scalar(services, f"{charges} AND book = 'held'", id=who.account_id)
    assert charged == ended[JobState.SUCCEEDED]
    seconds = time.monotonic() - started
    return Ends(rounds, ended[JobState.SUCCEEDED], ended[JobState.CANCELLED], seconds)


def _both_ends(
    services: Services, pool: ThreadPoolExecutor, claim: Claim, pauses_s: Sequence[float]
) -> tuple[bool, JobState]:
    """Whether the worker's settle counted, and the state that the customer was told."""
    output = factories.stored(services, claim)

    def finish() -> bool:
        time.sleep(pauses_s[0])
        how = {"facts": {}, "served_by": "test", "processing_ms": 1, "ttl_s": 3600.0}
        return settle.succeed(services.db, claim, output, **how)  # type: ignore[arg-type]

    def cancel() -> JobState:
        time.sleep(pauses_s[1])
        return settle.cancel(services.db, claim.account_id, claim.job_id)

    won, state = at_once(pool, (finish, cancel))  # type: ignore[arg-type]
    return bool(won), JobState(state)


# An attempt that was overtaken ----------------------------------------------------------------


@dataclass(frozen=True)
class Zombies:
    """Late words of workers that somebody else had taken over from."""

    zombies: int
    words: int
    refused: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.zombies} overtaken attempts: {self.refused} of {self.words} late words "
            f"refused, every job charged once; {self.seconds:.1f} s"
        )


def zombie_settles(services: Services, zombies: int = 100) -> Zombies:
    """A worker falls silent, another takes its job over, and the first one speaks up after all:
    while the other one runs, at the moment it settles, or afterwards. No worker must run."""
    started = time.monotonic()
    words = refused = 0
    with ThreadPoolExecutor(8) as pool:
        for number in range(zombies):
            who = factories.customer(services)
            job_id = factories.submitted(services, who)
            late = factories.abandoned(services, job_id)
            if number % 2:
                assert [ring.job_id for ring in settle.reap(services.db, 3).rings] == [job_id]
            current = factories.claimed(services, job_id)
            assert (current.job_id, current.attempt) == (job_id, late.attempt + 1)
            said = _late_words(services, late)
            end = functools.partial(factories.succeed, services, current)
            if number % 3 == 0:
                answers = [word() for word in said]
                assert end() is True
            elif number % 3 == 1:
                *answers, settled = at_once(pool, [*said, end])
                assert settled is True
            else:
                assert end() is True
                answers = [word() for word in said]
            words += len(said)
            refused += sum(answer in (False, None) for answer in answers)
            assert refused == words, f"zombie {number}: {answers}"
            assert amounts(services, who.account_id)[:2] == (100 - PRICE, 0)
    assert_books_balance(services)
    return Zombies(zombies, words, refused, time.monotonic() - started)


def _late_words(services: Services, late: Claim) -> list[Callable[[], object]]:
    """Everything that the worker of an attempt may say about it; each is repeatable."""
    db, job_id, attempt = services.db, late.job_id, late.attempt
    return [
        lambda: factories.succeed(services, late),
        lambda: factories.fail(services, late),
        lambda: factories.fail(services, late, retry=True),
        lambda: settle.block(db, late, "result_refused", "Refused."),
        lambda: jobs.heartbeat(db, job_id, attempt, 600.0, 1, 2),
        lambda: jobs.hand_back(db, job_id, attempt),
        lambda: settle.freed(db, late),
    ]
