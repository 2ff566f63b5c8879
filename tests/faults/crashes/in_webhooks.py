"""Steps that lead the control worker past its points of the webhooks."""

from __future__ import annotations

import uuid

from farm import settle
from farm.webhooks import endpoints
from tests.farm.webhooks.receiver import verify
from tests.faults.crashes.lane import Bomb, Lane

_STATE = "SELECT state = :state FROM webhook_deliveries WHERE job_id = :job"
_AGAIN = (
    "UPDATE webhook_deliveries SET state = 'scheduled', tries = 0, next_at = now(), "
    "ended_at = NULL WHERE job_id = :job AND state <> 'scheduled'"
)


def of_a_message(lane: Lane, bomb: Bomb) -> None:
    """The URL that came with a job is told of its end."""
    job = _cancelled(lane)
    _told(lane, job)
    lane.together(bomb, _AGAIN, job=job)
    _dies(lane, bomb, job)
    _told(lane, job)


def of_a_new_secret(lane: Lane, bomb: Bomb) -> None:
    """The first message of an account, which makes the secret that signs it."""
    lane.who = lane.customer()
    bomb.arm()
    job = _cancelled(lane)
    _dies(lane, bomb, job)
    _told(lane, job)


def of_a_disabled_endpoint(lane: Lane, bomb: Bomb) -> None:
    """A message for an endpoint that was switched off is given up."""
    services, lane.who = lane.farm.services, lane.customer()
    added, _ = endpoints.add_endpoint(services.db, lane.who.account_id, lane.receiver.url())
    job = lane.parked()
    settle.cancel(services.db, None, job)
    _becomes(lane, job, "delivered")
    off = endpoints.Change(enabled=False)
    endpoints.change_endpoint(services.db, lane.who.account_id, added.id, off)
    lane.together(bomb, _AGAIN, job=job)
    _dies(lane, bomb, job)
    _becomes(lane, job, "given_up")
    lane.who = lane.customer()


def of_a_turn(lane: Lane, bomb: Bomb) -> None:
    """Somebody else takes over the sending."""
    job = _cancelled(lane)
    bomb.arm()
    _take_over(lane)
    bomb.wait(lambda: _take_over(lane))
    _hurry(lane, job)
    _told(lane, job)


def of_an_overdue_message(lane: Lane, bomb: Bomb) -> None:
    """A message whose turn has not come for a week is given up by who stops sending."""
    job = _cancelled(lane)
    _told(lane, job)
    overdue = (
        "UPDATE webhook_deliveries SET state = 'scheduled', ended_at = NULL, "
        "next_at = now() - interval '180 hours', lease_until = now() + interval '1 hour' "
        "WHERE job_id = :job"
    )
    lane.together(bomb, overdue, job=job)
    _cleaned(lane, bomb, f"({_STATE})", job)


def of_an_old_message(lane: Lane, bomb: Bomb) -> None:
    """A message of the month before is forgotten by who stops sending."""
    job = _cancelled(lane)
    _told(lane, job)
    old = "now() - interval '31 days'"
    lane.execute(f"UPDATE jobs SET finished_at = {old} WHERE id = :job", job=job)
    of_job = "webhook_deliveries WHERE job_id = :job"
    lane.together(
        bomb, f"UPDATE webhook_deliveries SET created_at = {old} WHERE job_id = :job", job=job
    )
    _cleaned(lane, bomb, f"SELECT NOT EXISTS (SELECT FROM {of_job} AND state <> :state)", job)


def _cancelled(lane: Lane) -> uuid.UUID:
    """A job that has just been cancelled, and came with a URL."""
    job = lane.parked(webhook_url=lane.receiver.url())
    settle.cancel(lane.farm.services.db, None, job)
    return job


def _told(lane: Lane, job: uuid.UUID) -> None:
    """Wait until the URL was told of a job's end, in a message that the secret verifies."""
    _becomes(lane, job, "delivered")
    db, account_id = lane.farm.services.db, lane.who.account_id
    secret = endpoints.secret_of(db, account_id, endpoints.default_endpoint(db, account_id).id)
    came = [m for m in lane.receiver.messages if str(job).encode() in m.raw]
    assert came, f"nobody was told of {job}"
    assert verify(secret, came[-1].raw, came[-1].headers), f"the message of {job} is not signed"


def _becomes(lane: Lane, job: uuid.UUID, state: str) -> None:
    lane.until(_STATE, nudge=lambda: _hurry(lane, job), state=state, job=job)


def _dies(lane: Lane, bomb: Bomb, job: uuid.UUID) -> None:
    bomb.wait(lambda: _hurry(lane, job))
    _hurry(lane, job)


def _cleaned(lane: Lane, bomb: Bomb, done: str, job: uuid.UUID) -> None:
    _take_over(lane)
    bomb.wait(lambda: _take_over(lane))
    lane.until(done, nudge=lambda: _take_over(lane), state="given_up", job=job)


def _hurry(lane: Lane, job: uuid.UUID) -> None:
    """Who was sending is dead: the time is over for which that keeps others off."""
    lane.execute("UPDATE leases SET until = now() WHERE name = 'webhooks'")
    lane.execute("UPDATE webhook_deliveries SET lease_until = now() "
                 "WHERE job_id = :job AND lease_until > now()", job=job)  # fmt: skip


def _take_over(lane: Lane) -> None:
    """Let the one that sends find that it is another one's turn."""
    lane.execute(
        "UPDATE leases SET holder = gen_random_uuid(), until = now() WHERE name = 'webhooks'"
    )
