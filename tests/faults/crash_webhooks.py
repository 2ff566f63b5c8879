"""Steps that lead the control worker past its points of the webhooks."""

from __future__ import annotations

import uuid

from farm import settle
from farm.webhooks import endpoints
from tests.faults.crash_lane import Bomb, Lane

_DELIVERED = "SELECT state = 'delivered' FROM webhook_deliveries WHERE job_id = :job"
_AGAIN = (
    "UPDATE webhook_deliveries SET state = 'scheduled', tries = 0, next_at = now(), "
    "ended_at = NULL WHERE job_id = :job AND state <> 'scheduled'"
)


def of_a_message(lane: Lane, bomb: Bomb) -> None:
    """A job ends, and the URL that came with it is told. The account is a new one."""
    job = _told(lane)
    lane.until(_DELIVERED, job=job)
    lane.together(bomb, _AGAIN, job=job)
    bomb.wait()
    _hurry(lane, job)
    lane.until(_DELIVERED, job=job)


def of_a_new_secret(lane: Lane, bomb: Bomb) -> None:
    """The first message of an account, which makes the secret that signs it."""
    lane.who = lane.customer()
    bomb.arm()
    job = _told(lane)
    bomb.wait()
    _hurry(lane, job)
    lane.until(_DELIVERED, job=job)


def of_a_disabled_endpoint(lane: Lane, bomb: Bomb) -> None:
    """A message for an endpoint that was switched off is given up."""
    services, lane.who = lane.farm.services, lane.customer()
    added, _ = endpoints.add_endpoint(services.db, lane.who.account_id, lane.receiver.url())
    job = lane.parked()
    settle.cancel(services.db, None, job)
    lane.until("SELECT state <> 'scheduled' FROM webhook_deliveries WHERE job_id = :job", job=job)
    off = endpoints.Change(enabled=False)
    endpoints.change_endpoint(services.db, lane.who.account_id, added.id, off)
    lane.together(bomb, _AGAIN, job=job)
    bomb.wait()
    _hurry(lane, job)
    lane.until("SELECT state = 'given_up' FROM webhook_deliveries WHERE job_id = :job", job=job)
    lane.who = lane.customer()


def of_a_turn(lane: Lane, bomb: Bomb) -> None:
    """Somebody else takes over the sending."""
    bomb.arm()
    _take_over(lane)
    bomb.wait()
    job = _told(lane)
    _hurry(lane, job)
    lane.until(_DELIVERED, job=job)


def of_an_overdue_message(lane: Lane, bomb: Bomb) -> None:
    """A message whose turn has not come for a week is given up by who stops sending."""
    job = _told(lane)
    lane.until(_DELIVERED, job=job)
    lane.together(
        bomb,
        "UPDATE webhook_deliveries SET state = 'scheduled', ended_at = NULL, "
        "next_at = now() - interval '180 hours', lease_until = now() + interval '1 hour' "
        "WHERE job_id = :job",
        job=job,
    )
    _cleaned(lane, bomb, "SELECT state = 'given_up' FROM webhook_deliveries WHERE job_id = :job",
             job)  # fmt: skip


def of_an_old_message(lane: Lane, bomb: Bomb) -> None:
    """A message of the month before is forgotten by who stops sending."""
    job = _told(lane)
    lane.until(_DELIVERED, job=job)
    lane.together(
        bomb,
        "UPDATE webhook_deliveries SET created_at = now() - interval '31 days' WHERE job_id = :job",
        job=job,
    )
    lane.execute(
        "UPDATE jobs SET finished_at = now() - interval '31 days' WHERE id = :job", job=job
    )
    lane.told.pop()
    _cleaned(
        lane, bomb, "SELECT NOT EXISTS (SELECT FROM webhook_deliveries WHERE job_id = :job)", job
    )


def _cleaned(lane: Lane, bomb: Bomb, done: str, job: uuid.UUID) -> None:
    _take_over(lane)
    bomb.wait()
    _hurry(lane, job)
    lane.until("SELECT until > now() FROM leases WHERE name = 'webhooks'")
    _take_over(lane)
    lane.until(done, job=job)


def _told(lane: Lane) -> uuid.UUID:
    """A job that has just been cancelled, of whose end somebody is to be told."""
    job = lane.parked(webhook_url=lane.receiver.url())
    settle.cancel(lane.farm.services.db, None, job)
    lane.told.append((str(job), lane.who))
    return job


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
