"""Webhooks from a job's end to a receiver that verifies them, and back to the log."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from farm import settle
from farm.errors import NotFound
from farm.inputs import begin_fetch
from farm.intake.urls import FetchPolicy
from farm.moderation import PromptPolicy
from farm.services import Services
from farm.submit import submit
from farm.types import JobState, RemotePicture
from farm.webhooks import deliveries, endpoints, queue
from farm.webhooks.endpoints import Endpoint
from farm.webhooks.outbox import JOB_EVENTS
from farm.webhooks.pump import clean
from farm.webhooks.send import Sender
from farm.webhooks.signing import SECRET_PREFIX, message_id
from tests import factories
from tests.factories import Customer
from tests.farm.checks import assert_books_balance, run, scalar
from tests.farm.webhooks.arranging import added, ended, listed
from tests.farm.webhooks.receiver import Receiver, pump, verify

DUE_NOW = "UPDATE webhook_deliveries SET next_at = now()"
A_DAY = timedelta(days=1)


def every_end(services: Services, who: Customer) -> dict[str, uuid.UUID]:
    """One job for each statement that ends jobs, by a word for it."""
    ids = {"job.succeeded": ended(services, who)}
    claim = factories.claimed(services, factories.submitted(services, who))
    factories.fail(services, claim)
    ids["job.failed"] = claim.job_id
    claim = factories.claimed(services, factories.submitted(services, who))
    assert settle.block(services.db, claim, "result_refused", "Refused.")
    ids["job.blocked"] = claim.job_id
    ids["job.expired"] = factories.submitted(services, who)
    assert settle.expire_queued(services.db, -1.0) == [ids["job.expired"]]
    ids["job.cancelled"] = factories.submitted(services, who)
    assert settle.cancel(services.db, None, ids["job.cancelled"]) is JobState.CANCELLED
    return ids


def test_every_way_to_end_is_told_once_and_verified(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    ids = every_end(services, who)
    assert pump(services).drain() == 5
    assert sorted(receiver.types()) == sorted(JOB_EVENTS)
    told = {message.verified["type"]: message for message in receiver.messages if message.verified}
    assert {kind: message.verified["data"]["id"] for kind, message in told.items()} == {
        kind: str(job_id) for kind, job_id in ids.items()
    }
    assert len({message.id for message in receiver.messages}) == 5
    done = told["job.succeeded"].verified or {}
    path = scalar(services, "SELECT output_path FROM jobs WHERE id = :id", id=ids["job.succeeded"])
    assert done["data"]["output_url"].startswith(f"http://127.0.0.1:8000/outputs/{path}?exp=")
    assert done["data"]["credits_charged"] == done["data"]["receipt"]["held"] > 0
    failed = (told["job.failed"].verified or {})["data"]
    assert failed["error"] == {"code": "engine_failed", "message": "It broke."}
    assert (failed["receipt"]["charged"], failed["output_url"]) == (0, None)
    assert told["job.failed"].headers["content-type"] == "application/json"
    assert_books_balance(services)


def test_a_tampered_message_is_not_verified(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    ended(services, who)
    pump(services).drain()
    [message] = receiver.messages
    secret = receiver.secrets["/hook"]
    assert verify(secret, message.raw, message.headers)
    assert not verify(secret, message.raw.replace(b"0", b"9"), message.headers)
    later = message.headers | {
        "webhook-timestamp": str(int(message.headers["webhook-timestamp"]) + 1)
    }
    assert not verify(secret, message.raw, later)


def test_a_submits_own_url_is_told_beside_the_endpoints_and_signed_with_the_default_secret(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    default = endpoints.default_endpoint(services.db, who.account_id)
    assert default == endpoints.default_endpoint(services.db, who.account_id)
    secret = endpoints.secret_of(services.db, who.account_id, default.id)
    receiver.secrets["/mine"] = secret
    assert secret.startswith(SECRET_PREFIX)
    ended(services, who, receiver.url("/mine"))
    refused = replace(
        factories.edit(image=RemotePicture("https://x.example/a.png")),
        webhook_url=receiver.url("/mine"),
    )
    job_id = submit(services, who.principal, refused).job_id
    run(
        services,
        "UPDATE jobs SET fetches = 3, fetch_until = now() - interval '1 s' WHERE id = :id",
        id=job_id,
    )
    assert begin_fetch(services.db, job_id) is None
    pump(services).drain()
    assert sorted(message.path for message in receiver.messages) == ["/hook"] * 2 + ["/mine"] * 2
    assert sorted(receiver.types()) == ["job.failed"] * 2 + ["job.succeeded"] * 2
    assert [d.state for d in listed(services, who, None)] == ["delivered"] * 2
    assert endpoints.list_endpoints(services.db, who.account_id) == [endpoint]
    assert_books_balance(services)


def test_what_is_refused_at_submit_is_told_as_blocked(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint, tmp_path: Path
) -> None:
    rules = tmp_path / "moderation.txt"
    rules.write_text("forbidden fruit\n", encoding="utf-8")
    strict = replace(services, moderation=PromptPolicy.from_file(rules))
    submit(strict, who.principal, factories.request(prompt="a forbidden fruit"))
    pump(services).drain()
    assert receiver.types() == ["job.blocked"]


def test_an_end_that_is_rolled_back_tells_nobody(
    services: Services, who: Customer, endpoint: Endpoint
) -> None:
    claim = factories.claimed(services, factories.submitted(services, who))
    with services.db.transaction() as connection:
        connection.execute(
            settle._FAIL, {"id": claim.job_id, "attempt": 1, "code": "x", "message": "x"}
        )
        assert connection.execute(text("SELECT count(*) FROM webhook_deliveries")).scalar() == 1
        connection.rollback()
    assert listed(services, who, endpoint) == []
    assert_books_balance(services)


def test_a_receiver_that_was_down_for_three_tries_gets_the_same_message(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    ended(services, who, receiver.url("/mine"))
    receiver.statuses |= {"/hook": 503, "/mine": 500}
    for round_ in range(3):
        assert pump(services).drain() == 2
        waited = scalar(
            services,
            "SELECT extract(epoch FROM max(next_at) - now())::float FROM webhook_deliveries",
        )
        assert waited == pytest.approx(queue.SCHEDULE_S[round_ + 1], abs=2)
        run(services, DUE_NOW)
    receiver.statuses.clear()
    assert pump(services).drain() == 2
    assert pump(services).drain() == 0
    for path, owner in (("/hook", endpoint), ("/mine", None)):
        assert len({m.id for m in receiver.messages if m.path == path}) == 1
        [delivery] = listed(services, who, owner)
        assert delivery.state == "delivered"
        assert [logged.result.status for logged in delivery.tries][-1] == 204
        assert [logged.result.arrived for logged in delivery.tries] == [False] * 3 + [True]
    assert endpoints.get_endpoint(services.db, None, endpoint.id).failing_since is None


def test_the_schedule_ends_and_what_was_given_up_can_be_sent_again(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    assert [queue.wait_s(tries, 0.5) for tries in range(1, 11)] == [*queue.SCHEDULE_S[1:], None]
    assert queue.wait_s(1, 0.0) == 4.5
    ended(services, who)
    run(services, "UPDATE webhook_deliveries SET tries = 9")
    receiver.statuses["/hook"] = 503
    pump(services).drain()
    [delivery] = listed(services, who, endpoint)
    assert (delivery.state, delivery.next_at) == ("given_up", None)
    assert_books_balance(services)
    receiver.statuses.clear()
    yesterday = datetime.now(UTC) - A_DAY
    assert deliveries.replay_failed(services.db, endpoint, yesterday + 2 * A_DAY) == 0
    assert deliveries.replay_failed(services.db, endpoint, yesterday) == 1
    pump(services).drain()
    assert deliveries.replay(services.db, who.account_id, delivery.id).state == "scheduled"
    pump(services).drain()
    # Even what arrived may be asked for again, under its own id.
    assert [m.id for m in receiver.messages] == [message_id(delivery.id)] * 3
    with pytest.raises(NotFound):
        deliveries.replay(services.db, uuid.uuid4(), delivery.id)


def test_one_dead_endpoint_of_ten_takes_no_place_of_the_others(
    services: Services, who: Customer, receiver: Receiver
) -> None:
    ten = [added(services, who, receiver, f"/{number}") for number in range(10)]
    dead = ten[0].id
    for _ in range(2):
        ended(services, who)
    # The dead one has a long queue, older than everything else.
    run(
        services,
        "INSERT INTO webhook_deliveries (id, account_id, endpoint_id, target, event, next_at) "
        "SELECT gen_random_uuid(), :account, :dead, :dead, 'test.ping', now() - interval '1 hour' "
        "FROM generate_series(1, 500)",
        account=who.account_id,
        dead=dead,
    )
    first = queue.claim(services.db, {}, queue.HEALTHY_ROOM, queue.TROUBLED_ROOM)
    assert sum(claimed.target == dead for claimed in first) == queue.EACH_MAX
    assert {claimed.target for claimed in first} == {endpoint.id for endpoint in ten}
    assert len(first) == queue.EACH_MAX + 9 * 2
    # While those are on the way it gets no more; once it has failed, one at a time.
    assert queue.claim(services.db, {dead: queue.EACH_MAX}, 32, 16) == []
    run(services, "INSERT INTO webhook_troubles (target) VALUES (:dead)", dead=dead)
    ended(services, who)
    second = queue.claim(services.db, {}, queue.HEALTHY_ROOM, queue.TROUBLED_ROOM)
    assert sum(claimed.target == dead for claimed in second) == 1
    assert len(second) == 1 + 9
    # And its place is not one of the healthy ones'.
    assert {c.target for c in queue.claim(services.db, {}, 32, 0)} & {dead} == set()


def test_two_senders_send_once_and_a_killed_ones_message_comes_back(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    for _ in range(5):
        ended(services, who)
    # One that was killed in the middle of a try.
    [lost, *_] = queue.claim(services.db, {}, 1, 0)
    pumps = [threading.Thread(target=pump(services).drain) for _ in range(2)]
    for thread in pumps:
        thread.start()
    for thread in pumps:
        thread.join(30)
    assert len(receiver.messages) == len({m.id for m in receiver.messages}) == 4
    run(services, "UPDATE webhook_deliveries SET lease_until = now() WHERE lease_until IS NOT NULL")
    assert pump(services).drain() == 1
    assert receiver.messages[-1].id == message_id(lost.id)
    # Its own word, come late, changes nothing.
    late = Sender(FetchPolicy()).post("https://127.0.0.1/", [], b"")
    assert not queue.record(services.db, lost, late, again_in_s=None)
    assert {d.state for d in listed(services, who, endpoint)} == {"delivered"}


def test_one_process_at_a_time_has_the_turn(services: Services) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    assert queue.take_turn(services.db, first, 60)
    assert queue.take_turn(services.db, first, 60)
    assert not queue.take_turn(services.db, second, 60)
    assert pump(services).run(5.0) is None
    queue.end_turn(services.db, first)
    assert queue.take_turn(services.db, second, -1)
    assert queue.take_turn(services.db, first, 60)


def test_what_is_old_is_forgotten_and_what_waits_for_a_week_is_given_up(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    """A month after the last try nothing is left; what waits is not forgotten before it ended."""
    ended(services, who)
    pump(services).drain()
    ended(services, who)
    week_ago = "now() - interval '8 days'"
    run(services, f"UPDATE webhook_deliveries SET created_at = {week_ago}, next_at = {week_ago}")
    clean(services)
    assert {d.state for d in listed(services, who, endpoint)} == {"delivered", "given_up"}
    run(services, "UPDATE webhook_deliveries SET created_at = now() - interval '31 days'")
    clean(services)
    assert listed(services, who, endpoint) == []
    assert scalar(services, "SELECT count(*) FROM webhook_tries") == 0
