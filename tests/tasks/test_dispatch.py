"""Ringing: quick for the caller, in batches, and harmless when the broker is away."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from farm.broker import make_celery, messages_waiting
from farm.catalog import Catalog
from farm.config import Settings
from farm.dispatch import CAPACITY, Dispatcher
from farm.embedded import start_redis
from farm.errors import BrokerUnavailable
from farm.messages import GENERATE, Ring
from tests.processes import wait_until
from tests.services import redis_client

KEY = b"gpu.sdxl\x06\x163"


def ring(priority: int = 3, queue: str = "gpu.sdxl") -> Ring:
    return Ring(uuid.uuid4(), queue, priority)


@pytest.fixture
def app(redis_url: str, tmp_path: Path, catalog: Catalog) -> Celery:
    return make_celery(Settings(BROKER_URL=redis_url, data=tmp_path), catalog)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis[Any]]:
    with redis_client(redis_url) as found:
        yield found


@pytest.fixture
def dispatcher(app: Celery) -> Iterator[Dispatcher]:
    found = Dispatcher(app)
    yield found
    found.stop()


def sent(dispatcher: Dispatcher, count: int) -> None:
    wait_until(lambda: dispatcher.counts.sent == count, 10, lambda: str(dispatcher.counts))


def test_a_ring_is_the_message_that_celery_would_send(
    app: Celery, dispatcher: Dispatcher, client: redis.Redis[Any]
) -> None:
    rings = [ring(), ring()]
    dispatcher.ring_now(rings)
    ours = [json.loads(message) for message in client.lrange(KEY, 0, -1)][::-1]
    client.flushdb()
    job_id = str(rings[0].job_id)
    app.send_task(GENERATE, task_id=job_id, queue="gpu.sdxl", priority=3, ignore_result=True)
    (message,) = client.lrange(KEY, 0, -1)
    theirs = json.loads(message)
    assert [m["headers"]["id"] for m in ours] == [str(r.job_id) for r in rings]
    assert len({m["properties"]["delivery_tag"] for m in ours}) == 2
    for found in (ours[0], theirs):
        for once in ("delivery_tag", "reply_to"):
            uuid.UUID(found["properties"].pop(once))
        found["headers"].pop("origin")
    assert ours[0] == theirs


def test_rings_that_gathered_go_in_one_round_trip(
    dispatcher: Dispatcher, client: redis.Redis[Any]
) -> None:
    dispatcher.ring_now([ring()])
    client.config_resetstat()
    dispatcher.ring_now([ring() for _ in range(5)])
    # The batch, and the INFO that asks.
    assert client.info("stats")["total_reads_processed"] <= 2
    assert client.info("commandstats")["cmdstat_lpush"]["calls"] == 1


def test_every_priority_has_its_list_and_the_first_is_served_first(
    dispatcher: Dispatcher, app: Celery
) -> None:
    rings = [ring(priority) for priority in (9, 6, 3, 0)]
    dispatcher.ring_now(rings)
    served = []
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        for _ in rings:
            served.append(channel.basic_get("gpu.sdxl", no_ack=True).headers["id"])
    assert served == [str(r.job_id) for r in reversed(rings)]


def test_ringing_costs_the_caller_microseconds(dispatcher: Dispatcher) -> None:
    rings = [ring() for _ in range(1000)]
    dispatcher.ring(rings[0])
    sent(dispatcher, 1)
    started = time.thread_time()
    for one in rings:
        dispatcher.ring(one)
    per_ring_s = (time.thread_time() - started) / len(rings)
    sent(dispatcher, 1001)
    assert per_ring_s < 100e-6


def test_a_broker_that_is_away_neither_raises_nor_blocks_and_is_counted(
    tmp_path: Path, catalog: Catalog
) -> None:
    url = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
    dispatcher = Dispatcher(make_celery(Settings(BROKER_URL=url, data=tmp_path), catalog))
    started = time.monotonic()
    dispatcher.ring(ring())
    assert time.monotonic() - started < 0.5
    wait_until(lambda: dispatcher.counts.failed == 1, 15, lambda: str(dispatcher.counts))
    with pytest.raises(BrokerUnavailable):
        dispatcher.ring_now([ring()])
    dispatcher.stop()


def test_rings_reach_a_broker_that_comes_back(tmp_path: Path, catalog: Catalog) -> None:
    with start_redis(tmp_path / "redis") as server:
        app = make_celery(Settings(BROKER_URL=server.url, data=tmp_path), catalog)
        dispatcher = Dispatcher(app)
        dispatcher.ring(ring())
        sent(dispatcher, 1)
        server.stop()
        dispatcher.ring(ring())
        server.start()
        sent(dispatcher, 2)
        assert messages_waiting(app)["gpu.sdxl"] == 1
        dispatcher.stop()


def test_more_than_fits_is_dropped_and_counted(tmp_path: Path, catalog: Catalog) -> None:
    url = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
    app = make_celery(Settings(BROKER_URL=url, data=tmp_path), catalog)
    dispatcher = Dispatcher(app, capacity=5)
    for _ in range(500):
        dispatcher.ring(ring())
    counts = dispatcher.counts
    assert counts.waiting <= 5
    assert counts.dropped >= 500 - 2 * 5
    dispatcher.stop()
    assert CAPACITY >= 1000


def test_stopping_sends_what_waits(app: Celery) -> None:
    dispatcher = Dispatcher(app)
    for _ in range(300):
        dispatcher.ring(ring())
    dispatcher.stop(timeout_s=10)
    assert dispatcher.counts.sent == 300
    assert messages_waiting(app)["gpu.sdxl"] == 300


def test_many_threads_ring_at_once(dispatcher: Dispatcher, app: Celery) -> None:
    threads = [
        threading.Thread(target=lambda: [dispatcher.ring(ring()) for _ in range(50)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent(dispatcher, 400)
    assert messages_waiting(app)["gpu.sdxl"] == 400


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_rings_by_itself(dispatcher: Dispatcher, app: Celery) -> None:
    dispatcher.ring(ring())
    sent(dispatcher, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            dispatcher.ring(ring())
            dispatcher.stop(timeout_s=10)
            code = 0 if dispatcher.counts.sent == 1 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    dispatcher.ring(ring())
    sent(dispatcher, 2)
    assert messages_waiting(app)["gpu.sdxl"] == 3
