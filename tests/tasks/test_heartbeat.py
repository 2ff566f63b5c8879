"""The lease beside a running job, on a real PostgreSQL that may go away."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from farm import jobs, settle
from farm.db import Database, upgrade
from farm.embedded import start_postgres
from farm.errors import Cancelled
from farm.services import Services
from farm.types import Claim
from tasks.child import Child
from tasks.heartbeat import STOP_S, Heartbeat
from tests import factories
from tests.farm.checks import run, scalar
from tests.processes import wait_until


@pytest.fixture
def claim(child: Child) -> Claim:
    who = factories.customer(child.services)
    job_id = factories.submitted(child.services, who)
    claim = jobs.claim(child.services.db, job_id, "worker@here", 3.0, 3)
    assert claim is not None
    return claim


def lease_left_s(services: Services, claim: Claim) -> float:
    sql = "SELECT extract(epoch FROM lease_until - now()) FROM jobs WHERE id = :id"
    return float(scalar(services, sql, id=claim.job_id))


def is_lost(heartbeat: Heartbeat) -> bool:
    try:
        heartbeat.check()
    except Cancelled:
        return True
    return False


def test_the_lease_is_renewed_and_progress_is_seen(child: Child, claim: Claim) -> None:
    with Heartbeat(child, claim) as heartbeat:
        heartbeat.on_step(7, 20)
        wait_until(
            lambda: scalar(child.services, "SELECT step FROM jobs") == 7, 10, "no progress seen"
        )
        assert lease_left_s(child.services, claim) > 2.0
        assert scalar(child.services, "SELECT steps FROM jobs") == 20
        heartbeat.check()


def test_it_outlasts_its_lease(child: Child, claim: Claim) -> None:
    end = time.monotonic() + 4.0
    with Heartbeat(child, claim) as heartbeat:
        pause = threading.Event()
        while time.monotonic() < end:
            assert lease_left_s(child.services, claim) > 0.5
            pause.wait(0.1)
        heartbeat.check()
    assert settle.reap(child.services.db, 3).rings == []


def test_past_the_hard_limit_no_lease_is_renewed(child: Child, claim: Claim) -> None:
    """Whatever became of the process that should have been ended, the job is taken from it."""
    catalog = child.services.catalog
    card = catalog.models[claim.model].model_copy(update={"soft_limit_s": 0, "hard_limit_s": 0})
    catalog = catalog.model_copy(update={"models": {**catalog.models, card.id: card}})
    services = dataclasses.replace(child.services, catalog=catalog)
    with Heartbeat(dataclasses.replace(child, services=services), claim) as heartbeat:
        run(services, "UPDATE jobs SET lease_until = now() + interval '0.5 seconds'")
        wait_until(lambda: settle.reap(services.db, 3).rings, 10, "the job was never taken back")
        with pytest.raises(SoftTimeLimitExceeded):
            heartbeat.on_step(1, 2)


def test_a_cancelled_job_is_lost_within_a_third_of_the_lease(child: Child, claim: Claim) -> None:
    with Heartbeat(child, claim) as heartbeat:
        settle.cancel(child.services.db, None, claim.job_id)
        started = time.monotonic()
        wait_until(lambda: is_lost(heartbeat), 10, "not lost")
        assert time.monotonic() - started < 2.0
        with pytest.raises(Cancelled, match="cancelled or taken over"):
            heartbeat.on_step(1, 2)


def test_a_job_taken_over_is_lost(child: Child, claim: Claim) -> None:
    with Heartbeat(child, claim) as heartbeat:
        sql = "UPDATE jobs SET lease_until = now() - interval '1 second' RETURNING 1"
        assert scalar(child.services, sql) == 1
        assert jobs.claim(child.services.db, claim.job_id, "other", 30.0, 3) is not None
        wait_until(lambda: is_lost(heartbeat), 10, "not lost")


def test_after_the_block_nothing_beats(child: Child, claim: Claim) -> None:
    started = time.monotonic()
    with Heartbeat(child, claim):
        pass
    assert time.monotonic() - started < STOP_S
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


def test_a_database_that_is_away_is_waited_for(child: Child, tmp_path: Path) -> None:
    """Longer than the lease: nobody else can take the job in that time."""
    with start_postgres(tmp_path / "postgres", durable=False) as server:
        upgrade(server.url)
        services = dataclasses.replace(child.services, db=Database(server.url, timeout_s=1.0))
        claim = factories.claimed(
            services, factories.submitted(services, factories.customer(services))
        )
        with Heartbeat(dataclasses.replace(child, services=services), claim) as heartbeat:
            server.stop()
            threading.Event().wait(child.services.settings.lease_s + 1.0)
            heartbeat.check()
            server.start()
            heartbeat.on_step(5, 6)
            wait_until(
                lambda: scalar(services, "SELECT step FROM jobs") == 5, 15, "it did not come back"
            )
            heartbeat.check()
        with Heartbeat(
            dataclasses.replace(child, services=services), claim, patience_s=0.0
        ) as heartbeat:
            server.stop()
            wait_until(lambda: is_lost(heartbeat), 20, "it waits for ever")
        services.dispose()


def test_a_cancel_is_heard_at_once(child: Child) -> None:
    """With a lease whose renewal is far away."""
    who = factories.customer(child.services)
    claim = factories.claimed(child.services, factories.submitted(child.services, who))
    with Heartbeat(child, claim) as heartbeat:
        wait_until(lambda: child.cancellations.is_heard, 10, "nobody listens")
        time.sleep(0.5)  # past the first look at the database
        heartbeat.on_step(1, 9)
        settle.cancel(child.services.db, who.account_id, claim.job_id)
        started = time.monotonic()
        child.announcer.cancelled(claim.job_id)
        wait_until(lambda: is_lost(heartbeat), 5, "the cancel is not heard")
        assert time.monotonic() - started < child.services.settings.lease_s / 3
