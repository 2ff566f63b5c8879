"""Steps that lead the web process past its points. What is asked is asked until it is answered."""

from __future__ import annotations

import contextlib
import http.client

from tests.faults.crashes.lane import Bomb, Lane
from tests.faults.trial.oracle import call

_BATCH = 3


def with_a_key(lane: Lane, bomb: Bomb) -> None:
    """A careful client's submit: one job, however often it asks."""
    bomb.arm()
    job = lane.oracle.submit(model=lane.model)
    bomb.wait()
    lane.ends(job, "succeeded")


def without_a_key(lane: Lane, bomb: Bomb) -> None:
    """A client that does not ask again never hears of its job; if there is one, it is made."""
    bomb.arm()
    with contextlib.suppress(OSError, http.client.HTTPException):
        body = {"prompt": "a red circle", "model": lane.model}
        call(lane.farm, lane.who, "POST", "/v1/image/generate", body)
    bomb.wait()


def of_a_file(lane: Lane, bomb: Bomb) -> None:
    """A submit with a picture: one job; pictures of no job are swept with the other orphans."""
    bomb.arm()
    job = lane.upload()
    bomb.wait()
    lane.ends(job, "succeeded")


def of_a_batch(lane: Lane, bomb: Bomb) -> None:
    """Several jobs of one request: all of them, once."""
    who = lane.customer("pixola", "studio")
    bomb.arm()
    body = {"prompt": "a red circle", "model": lane.model, "count": _BATCH}
    lane.call(who, "POST", "/pixola/api/v1/generate", body)
    bomb.wait()
    of_account = "FROM jobs WHERE account_id = :who AND state = 'succeeded'"
    lane.until(f"SELECT count(*) = {_BATCH} {of_account}", who=who.account_id)
    assert lane.value("SELECT jobs_made FROM accounts WHERE id = :id", id=who.account_id) == _BATCH


def of_refused_words(lane: Lane, bomb: Bomb) -> None:
    """A prompt that the policy refuses: one job that cost nothing."""
    who = lane.customer()
    bomb.arm()
    with contextlib.suppress(OSError):
        body = {"prompt": "csam", "model": lane.model}
        lane.call(who, "POST", "/v1/image/generate", body)
    bomb.wait()
    states = "SELECT string_agg(state, ',') FROM jobs WHERE account_id = :who"
    assert lane.value(states, who=who.account_id) == "blocked"


def of_a_cancel(lane: Lane, bomb: Bomb) -> None:
    """A cancel, made until it is answered."""
    job = lane.parked()
    bomb.arm()
    lane.call(lane.who, "POST", f"/v1/jobs/{job}/cancel")
    bomb.wait()
    lane.ends(job, "cancelled")


def of_a_secret(lane: Lane, bomb: Bomb) -> None:
    """The secret of an account's own endpoint, which is made as it is first asked for."""
    who = lane.customer()
    bomb.arm()
    first = lane.call(who, "GET", "/v1/account/webhooks/default/secret")
    bomb.wait()
    assert lane.call(who, "GET", "/v1/account/webhooks/default/secret") == first
