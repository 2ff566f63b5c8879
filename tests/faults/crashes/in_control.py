"""Steps that lead the control worker, and beat, past their points."""

from __future__ import annotations

import os
import time
import uuid

from farm import messages, nodes, settle
from farm.types import Idempotency
from tests.faults.crashes.lane import MISSING_PATH, Bomb, Lane
from tests.processes import wait_until

_LAPSED = (
    "UPDATE jobs SET state = 'running', attempt = attempt + 1, deaths = :deaths, "
    "worker = 'nobody', started_at = now(), lease_until = now() - interval '1 second' "
    "WHERE id = :id AND state = 'queued'"
)


def of_a_lost_message(lane: Lane, bomb: Bomb) -> None:
    """A queued job of which no message tells is rung for."""
    job = lane.unrung()
    lane.together(bomb, "UPDATE jobs SET rung_at = NULL WHERE id = :id", id=job)
    bomb.wait()
    lane.ends(job, "succeeded")


def of_a_dead_worker(lane: Lane, bomb: Bomb) -> None:
    """A job whose lease ran out is taken back."""
    job = lane.unrung()
    lane.together(bomb, _LAPSED, id=job, deaths=0)
    bomb.wait()
    lane.ends(job, "succeeded")


def of_a_poison(lane: Lane, bomb: Bomb) -> None:
    """A job whose second worker died is ended."""
    job = lane.unrung()
    lane.together(bomb, _LAPSED, id=job, deaths=1)
    bomb.wait()
    lane.ends(job, "failed")


def of_a_late_job(lane: Lane, bomb: Bomb) -> None:
    """A job that waited for too long is ended."""
    job = lane.parked()
    late = "UPDATE jobs SET queued_at = now() - interval '2 hours' WHERE id = :id"
    lane.together(bomb, late, id=job)
    bomb.wait()
    lane.ends(job, "expired")


def of_a_url(lane: Lane, bomb: Bomb) -> None:
    """A job whose picture is fetched."""
    bomb.arm()
    job = lane.by_url()
    bomb.wait(lambda: _free_fetch(lane, job))
    _free_fetch(lane, job)
    lane.ends(job, "succeeded", lambda: _free_fetch(lane, job))


def of_a_wrong_url(lane: Lane, bomb: Bomb) -> None:
    """A job whose picture is not there."""
    bomb.arm()
    job = lane.by_url(MISSING_PATH)
    bomb.wait(lambda: _free_fetch(lane, job))
    _free_fetch(lane, job)
    lane.ends(job, "failed", lambda: _free_fetch(lane, job))


def of_an_old_output(lane: Lane, bomb: Bomb) -> None:
    """An output whose day is over is deleted."""
    job = lane.rung()
    lane.ends(job, "succeeded")
    path = (
        lane.farm.services.settings.data
        / "storage"
        / lane.value("SELECT output_key FROM jobs WHERE id = :id", id=job)
    )
    assert path.exists()
    lane.together(bomb, "UPDATE jobs SET output_expires_at = now() WHERE id = :id", id=job)
    _again(lane, bomb, messages.CLEAN)
    lane.until("SELECT output_deleted_at IS NOT NULL FROM jobs WHERE id = :id", id=job)
    assert not path.exists()


def of_a_spent_input(lane: Lane, bomb: Bomb) -> None:
    """The pictures of a job that has ended are deleted."""
    job = lane.parked()
    settle.cancel(lane.farm.services.db, None, job)
    bomb.arm()
    _again(lane, bomb, messages.CLEAN)
    lane.until("SELECT every(deleted_at IS NOT NULL) FROM inputs WHERE job_id = :id", id=job)
    assert not (lane.farm.services.settings.data / "storage" / str(job)).exists()


def of_an_orphan(lane: Lane, bomb: Bomb) -> None:
    """Files of an attempt that no job knows are deleted."""
    orphan = lane.farm.services.settings.data / "storage" / str(uuid.uuid4()) / "1"
    orphan.mkdir(parents=True)
    (orphan / "left.png").write_bytes(b"half a picture")
    long_ago = time.time() - 7200
    os.utime(orphan, (long_ago, long_ago))
    bomb.arm()
    _again(lane, bomb, messages.ORPHANS)
    wait_until(lambda: not orphan.exists(), 20, f"{orphan} is still there")


def of_an_old_key(lane: Lane, bomb: Bomb) -> None:
    """An Idempotency-Key of the day before is forgotten."""
    key = str(uuid.uuid4())
    lane.unrung(Idempotency(key, b"\1" * 32))
    old = "UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = :key"
    lane.together(bomb, old, key=key)
    _again(lane, bomb, messages.CLEAN)
    lane.until("SELECT NOT EXISTS (SELECT FROM idempotency_keys WHERE key = :key)", key=key)


def of_a_silent_node(lane: Lane, bomb: Bomb) -> None:
    """A node that said nothing for an hour is forgotten."""
    name = f"gone-{uuid.uuid4().hex}"
    report = nodes.Report(name, "gone", 1, (), "cpu", None, 0, 0, 1.0)
    nodes.report(lane.farm.services.db, report)
    silent = "UPDATE nodes SET seen_at = now() - interval '2 hours' WHERE name = :name"
    lane.together(bomb, silent, name=name)
    _again(lane, bomb, messages.CLEAN)
    lane.until("SELECT NOT EXISTS (SELECT FROM nodes WHERE name = :name)", name=name)


def of_a_month(lane: Lane, bomb: Bomb) -> None:
    """An account whose month is over gets its credits, once."""
    who = lane.customer()
    over = "UPDATE accounts SET period_end = now() - interval '1 second' WHERE id = :id"
    lane.together(bomb, over, id=who.account_id)
    _again(lane, bomb, messages.RENEW)
    lane.until("SELECT period_end > now() FROM accounts WHERE id = :id", id=who.account_id)
    grants = "SELECT count(*) FROM entries WHERE account_id = :id AND kind = 'grant'"
    months = lane.value(grants + " AND amount > 0", id=who.account_id)
    assert months == 2, f"{months} grants in two months"


def of_an_audit(lane: Lane, bomb: Bomb) -> None:
    """The books are checked, and what was found is kept."""
    before = lane.value("SELECT count(*) FROM audits")
    bomb.arm()
    _again(lane, bomb, messages.AUDIT)
    lane.until("SELECT count(*) > :n FROM audits", n=before)


def of_a_canary(lane: Lane, bomb: Bomb) -> None:
    """Canaries are sent, and the control worker takes its own."""
    lane.canary_due(bomb, messages.CONTROL_QUEUE)
    bomb.wait()
    lane.canary_comes(messages.CONTROL_QUEUE)


def of_time(lane: Lane, bomb: Bomb) -> None:
    """What happens by itself every few seconds; jobs go on being made."""
    bomb.arm()
    bomb.wait()
    job = lane.rung()
    lane.ends(job, "succeeded")


def of_an_end(lane: Lane, bomb: Bomb) -> None:
    """The control worker is stopped, and started again."""
    bomb.arm()
    bomb.wait(lane.stop())
    job = lane.rung()
    lane.ends(job, "succeeded")


def _again(lane: Lane, bomb: Bomb, task: str) -> None:
    """Ask for a task that dies, then for the next run of it."""
    lane.send(task)
    bomb.wait(lambda: lane.send(task))
    lane.send(task)


def _free_fetch(lane: Lane, job: str) -> None:
    """Who fetched it is dead: the minute is over for which that keeps others off."""
    lane.execute("UPDATE jobs SET fetch_until = now(), rung_at = NULL "
                 "WHERE id = :id AND fetch_until > now()", id=job)  # fmt: skip
