"""Each guard, taken out: what it is there for happens then, and whoever looks complains of it.

With the guard in its place the same events leave nothing to complain of. Guards of the books are
tried on a database alone; those of processes in a farm that stays in use, which catches up with
what it missed once the guard is back.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy.exc import DBAPIError

from farm import ledger, settle, submit, views
from farm.crash_points import RUN_MID, Effect
from farm.errors import FarmError
from farm.services import Services
from farm.types import Idempotency, JobState
from tests import factories
from tests.farm.checks import run
from tests.faults.trial.crew import HARD_S, Crew
from tests.faults.trial.engine import Orders, content
from tests.faults.trial.farm import LEASE_S
from tests.faults.trial.guards import GUARDS, IN_DATABASE, drop_from, out_here, out_of, take_out
from tests.faults.trial.inside import DISARMED
from tests.faults.trial.oracle import written
from tests.processes import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("crew")]

MISSED_S = 5.0
"""Longer than a lease, a sweep, and the time after which a job is rung for again."""
MARGIN_S = 2.0


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_is_made_as_it_is_taken_out(name: str) -> None:
    """Otherwise taking it out raises."""
    take_out(name)()


# -- The books ---------------------------------------------------------------------------


def overtaken(services: Services, who: factories.Customer) -> None:
    """An attempt wants to settle while the next one runs."""
    job = factories.submitted(services, who)
    zombie = factories.abandoned(services, job)
    settle.reap(services.db, attempts_max=3)
    heir = factories.claimed(services, job)
    factories.succeed(services, zombie)
    factories.succeed(services, heir)


def too_late(services: Services, who: factories.Customer) -> None:
    """An attempt wants to settle when the next one has. Another job's credits are held."""
    job = factories.submitted(services, who)
    zombie = factories.abandoned(services, job)
    settle.reap(services.db, attempts_max=3)
    factories.succeed(services, factories.claimed(services, job))
    factories.submitted(services, who)
    factories.succeed(services, zombie)


def short_of_credits(services: Services, who: factories.Customer) -> None:
    """A customer asks for more than there are credits for."""
    less = 10 - views.balance(services.db, who.account_id).available_tenths
    with services.db.transaction() as connection:
        ledger.grant(connection, who.account_id, less, kind="adjust", reason="one is left")
    factories.submitted(services, who, key="once")


def sent_twice(services: Services, who: factories.Customer) -> None:
    """A client hears no answer, and sends its request again."""
    request = factories.request(prompt=f"a red circle ask={uuid.uuid4().hex}")
    for _ in range(2):
        submit.submit(services, who.principal, request, Idempotency("once", b"\1" * 32))


def poisonous(services: Services, who: factories.Customer) -> None:
    """A job ends every worker that runs it."""
    job = factories.submitted(services, who)
    while views.get_job(services.db, who.account_id, job).state is JobState.QUEUED:
        factories.abandoned(services, job)
        settle.reap(services.db, attempts_max=3)


def cancelled(services: Services, who: factories.Customer) -> None:
    """A customer can do without."""
    settle.cancel(services.db, who.account_id, factories.submitted(services, who))


def to_be_told(services: Services, who: factories.Customer) -> None:
    """A customer wants to hear of a job's end."""
    job = factories.submitted(services, who)
    url = "UPDATE jobs SET webhook_url = 'https://example.com/hook' WHERE id = :id"
    run(services, url, id=job)
    factories.succeed(services, factories.claimed(services, job))


BOOKS: dict[str, tuple[Callable[[Services, factories.Customer], None], tuple[str, ...], str]] = {
    "overtaken": (overtaken, ("fence",), "with the file of another attempt"),
    "too late": (too_late, ("fence", "terminal-states"), "with the file of another attempt"),
    "charged twice": (
        too_late,
        ("open-hold", "resolved-once", "one-settlement", "fence", "terminal-states"),
        "audit 4",
    ),
    "overdraft": (short_of_credits, ("conditional-hold", "no-overdraft"), "audit 3"),
    "sent twice": (sent_twice, ("idempotency",), "one request made 2 jobs"),
    "poison": (poisonous, ("poison",), "has ended 3 workers"),
    "cancelled": (cancelled, ("release", "money-at-the-end"), "audit 4"),
    "told": (to_be_told, ("outbox",), "audit 8"),
}
"""What happens, the guards that stand one behind the other, and the complaint without them all."""


@pytest.mark.parametrize("name", BOOKS)
def test_the_books_are_wrong_without_their_guards_and_right_with_the_last_of_them(
    services: Services, name: str
) -> None:
    happens, guards, complaint = BOOKS[name]
    with contextlib.ExitStack() as stack:
        for number, guard in enumerate(guards):
            _try(happens, services)
            assert written(services) == [], f"without {guards[:number]}"
            if guard in IN_DATABASE:
                drop_from(services.db, guard)
            else:
                stack.enter_context(out_here(guard))
        _try(happens, services)
    found = written(services)
    assert any(complaint in each for each in found), found


def _try(happens: Callable[[Services, factories.Customer], None], services: Services) -> None:
    """Let it happen to a new customer; a guard may refuse."""
    with contextlib.suppress(FarmError, DBAPIError):
        happens(services, factories.customer(services, plan="scale"))


# -- Processes ---------------------------------------------------------------------------


def test_a_lost_message_and_a_dead_worker_are_seen_by_one_guard_each(crew: Crew) -> None:
    folder = crew.farm.folder
    with out_of(folder, "reaper"):
        with out_of(folder, "ring-again"):
            crew.farm.armoury.arm("api", Effect.DISPATCH.before)
            crew.farm.armoury.arm("worker", RUN_MID)
            jobs = [crew.oracle.submit()]
            # It rings in the background: until it is dead it may take the second as well.
            died = partial(crew.farm.armoury.fired, "api", Effect.DISPATCH.before)
            wait_until(died, 10, "the API did not die")
            # The message of the second is the first one's turn.
            jobs.append(crew.oracle.submit())
            wait_until(lambda: ("running",) in {crew.row(job, "state") for job in jobs}, 30, "none")
            assert _never_quiet(crew)
            assert {crew.row(job, "state") for job in jobs} == {("running",), ("queued",)}
        wait_until(lambda: ("succeeded",) in {crew.row(job, "state") for job in jobs}, 10, "none")
        assert ("running",) in {crew.row(job, "state") for job in jobs}
    crew.oracle.check(repeats=1)


def test_a_job_that_anybody_may_take_runs_more_than_once(crew: Crew) -> None:
    def complaints(crew: Crew) -> tuple[str, ...]:
        job = crew.oracle.submit("run=0.5")
        crew.running(job)
        crew.ring(job, times=10)
        return crew.oracle.verdict(repeats=0).complaints

    with out_of(crew.farm.folder, "claim"):
        [complaint] = complaints(crew)
        assert "runs were repeated" in complaint
    assert complaints(crew.renewed()) == ()


def test_a_job_that_is_settled_before_its_file_is_stored_may_have_none(crew: Crew) -> None:
    with out_of(crew.farm.folder, "durable-first"):
        crew.farm.armoury.arm("worker", Effect.SETTLE.after)
        job = crew.oracle.submit()
        found = crew.oracle.verdict().complaints
        assert f"{job} was charged and its file answers 404" in found
        assert any(each.startswith("audit 5") for each in found), found
    # What the dead worker had in mind, so that the farm's books are right again.
    path = crew.disk.root / crew.farm.column("output_key", job)
    path.write_bytes(content(job, 1, Orders().bytes))
    crew.oracle.check(repeats=0)


def test_a_job_whose_lease_is_not_renewed_is_taken_from_a_worker_that_lives(crew: Crew) -> None:
    def complaints(crew: Crew) -> tuple[str, ...]:
        crew.oracle.submit(f"run={LEASE_S * 1.25} steps=10")
        return crew.oracle.verdict(repeats=0).complaints

    with out_of(crew.farm.folder, "heartbeat"):
        assert any("runs were repeated" in each for each in complaints(crew))
    assert complaints(crew.renewed()) == ()


def test_an_engine_that_hangs_keeps_its_worker_for_ever(crew: Crew) -> None:
    model = "flux-schnell"
    with crew.left_to_others(model):
        worker = crew.farm.start("worker", "--queues", model, **{DISARMED: "hard-limit"})
        crew.farm.ready("worker", worker)
        crew.oracle.submit("fail=hang-hard times=1", model=model)
        crew.oracle.submit(model=model)
        assert _never_quiet(crew, HARD_S + MARGIN_S)
        for process in worker.family():
            process.kill()
    crew.oracle.check()


def _never_quiet(crew: Crew, seconds: float = MISSED_S) -> bool:
    try:
        crew.oracle.quiet(seconds)
    except AssertionError:
        return True
    return False
