"""The farm's guards, each with a way to take it out, so that a test sees what it is there for.

A guard is taken out inside a process of a trial farm only: for the process's whole life by its
name in ``FAULTS_DISARMED``, or for a while by :func:`out_of`. :func:`out_here` is for tests that
call the farm's functions themselves, and :func:`drop_from` for what the database guards.

Taking out names the text or the attribute that a guard is made of, and raises where that is not
there any more.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import TextClause, text

from farm import ledger
from farm.db import Database
from farm.types import Artifact, StoredOutput
from farm.webhooks import outbox
from tests.faults.trial.engine import FOLDER

Change = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """What it sees to, and what becomes of each ``module:attribute`` without it."""

    sees_to: str
    parts: Sequence[tuple[str, Change]]


def take_out(name: str) -> Callable[[], None]:
    """Take a guard out of this process; what is returned puts it back.

    Raises:
        KeyError, AttributeError, AssertionError: there is no such guard, or it is made otherwise.
    """
    undo = contextlib.ExitStack()
    for place, change in GUARDS[name].parts:
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, attribute = path.split(".")
        for each in outer:
            owner = getattr(owner, each)
        before = getattr(owner, attribute)
        setattr(owner, attribute, change(before))
        undo.callback(setattr, owner, attribute, before)
    return undo.close


@contextlib.contextmanager
def out_here(*names: str) -> Iterator[None]:
    """This process without these guards, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.callback(take_out(name))
        yield


@contextlib.contextmanager
def out_of(folder: Path, *names: str) -> Iterator[None]:
    """The processes of the trial farm in a folder without these guards, each from the next crash
    point that it reaches, for as long as the block lasts."""
    assert GUARDS.keys() >= set(names), names
    files = [_out(folder) / name for name in names]
    for file in files:
        file.touch()
    try:
        yield
    finally:
        for file in files:
            file.unlink()


class Follower:
    """Called at every crash point of a process, lets it follow :func:`out_of`."""

    def __init__(self) -> None:
        self._folder = _out(Path(os.environ[FOLDER]))
        self._lock = threading.Lock()
        self._put_back: dict[str, Callable[[], None]] = {}

    def __call__(self, point: str) -> None:
        """Take out what is to be out now, and put back what is not."""
        absent = set(os.listdir(self._folder))
        if absent == self._put_back.keys():
            return
        with self._lock:
            for name in self._put_back.keys() - absent:
                self._put_back.pop(name)()
            for name in absent - self._put_back.keys():
                self._put_back[name] = take_out(name)


def drop_from(db: Database, *names: str) -> None:
    """Take guards out of a database, for good; one that is out already stays out."""
    with db.transaction() as connection:
        for name in names:
            connection.execute(text(IN_DATABASE[name]))


def _out(folder: Path) -> Path:
    found = folder / "guards-out"
    found.mkdir(exist_ok=True)
    return found


def _without(words: str, instead: str = "") -> Change:
    """A statement in which these words are replaced."""

    def change(statement: TextClause) -> TextClause:
        assert words in statement.text, f"there is no {words!r} in {statement.text}"
        return text(statement.text.replace(words, instead))

    return change


def _each(change: Change) -> Change:
    """A table of statements, each changed."""
    return lambda table: {key: change(statement) for key, statement in table.items()}


def _now(value: Any) -> Change:
    """Something else in its place."""
    return lambda _: value


_unwritten: list[tuple[Path, bytes]] = []


def _keep_in_mind(put: Callable[..., StoredOutput]) -> Callable[..., StoredOutput]:
    """A storage that says it has the file, and writes it once the job is settled."""

    def later(storage: Any, job_id: Any, attempt: int, artifact: Artifact) -> StoredOutput:
        stored = put(storage, job_id, attempt, artifact)
        path = storage._root / stored.key
        _unwritten.append((path, path.read_bytes()))
        path.unlink()
        return stored

    return later


def _then_write(succeed: Callable[..., bool]) -> Callable[..., bool]:
    def settle(*args: Any, **kwargs: Any) -> bool:
        settled = succeed(*args, **kwargs)
        path, data = _unwritten.pop()
        path.write_bytes(data)
        return settled

    return settle


GUARDS: dict[str, Guard] = {
    "fence": Guard(
        "An attempt that was overtaken settles nothing.",
        [("farm.settle:_SUCCEED", _without("AND attempt = :attempt AND state = 'running'"))],
    ),
    "open-hold": Guard(
        "A hold that was resolved is not resolved again.",
        [("farm.settle:_SUCCEED", _without("AND holds.state = 'open'"))],
    ),
    "conditional-hold": Guard(
        "A price is held only where it is available.",
        [("farm.submit_sql:SUBMIT", _each(_without("posted - held >= :price AND")))],
    ),
    "claim": Guard(
        "What one worker runs, no other one takes.",
        [
            ("farm.jobs:_CLAIM", _without("AND state = 'queued'", "AND finished_at IS NULL")),
            ("farm.jobs:_CLAIM", _without("FOR UPDATE SKIP LOCKED")),
        ],
    ),
    "ring-again": Guard(
        "A job whose message was lost is rung for again.",
        [("farm.jobs:_DUE", _without("state = 'queued'", "false"))],
    ),
    "reaper": Guard(
        "A job whose worker died is taken back.",
        [("farm.settle:_LAPSED", _without("lease_until < now()", "false"))],
    ),
    "durable-first": Guard(
        "A job is settled when its file is stored, not before.",
        [
            ("farm.storage.local:LocalStorage.put", _keep_in_mind),
            ("farm.settle:succeed", _then_write),
        ],
    ),
    "idempotency": Guard(
        "A request that is sent again makes no second job.",
        [("farm.submit_sql:SUBMIT", lambda table: {key: table[False, key[1]] for key in table})],
    ),
    "poison": Guard(
        "A job that ends one worker after the other is stopped.",
        [("farm.jobs:DEATHS_MAX", _now(99)), ("farm.settle:DEATHS_MAX", _now(99))],
    ),
    "hard-limit": Guard(
        "A process whose engine hangs is ended.",
        [
            ("tasks.generate:process_ends_after", _now(lambda _: contextlib.nullcontext())),
            ("tasks.limits:queue_limits", _now(lambda _: {})),
        ],
    ),
    "release": Guard(
        "What a job held that was cancelled can be spent again.",
        [("farm.settle:_CANCEL", _without(ledger.RELEASE))],
    ),
    "heartbeat": Guard(
        "A job that takes longer than a lease stays with its worker.",
        [
            (
                "farm.jobs:_HEARTBEAT",
                _without("now() + :lease_s * interval '1 second'", "lease_until"),
            )
        ],
    ),
    "outbox": Guard(
        "A job that ended is told of.",
        [("farm.settle:_SUCCEED", _without(outbox.TELL))],
    ),
}
"""By name."""

IN_DATABASE: dict[str, str] = {
    "terminal-states": "DROP TRIGGER IF EXISTS jobs_moves ON jobs",
    "resolved-once": "DROP TRIGGER IF EXISTS holds_moves ON holds",
    "one-settlement": "DROP INDEX IF EXISTS entries_one_settlement",
    "no-overdraft": "ALTER TABLE accounts DROP CONSTRAINT IF EXISTS accounts_no_overdraft",
    "money-at-the-end": "DROP TRIGGER IF EXISTS jobs_money_on_end ON jobs",
}
"""What drops each guard of the database."""
