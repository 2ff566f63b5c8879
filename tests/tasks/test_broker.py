"""The queues, the priorities and the URL forms of both brokers."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from farm.broker import celery_priority, make_celery, messages_waiting, queue_names, redis_py_url
from farm.catalog import Catalog
from farm.config import Settings
from farm.errors import BrokerUnavailable, SetupError
from farm.messages import (
    CANARY,
    CONTROL_QUEUE,
    FETCH,
    GENERATE,
    INTAKE_QUEUE,
    TASKS,
    WEBHOOKS,
    WEBHOOKS_QUEUE,
)

REDIS, RABBITMQ = "redis://localhost", "amqp://localhost"


def test_the_farms_first_priority_is_each_brokers_first() -> None:
    assert [celery_priority(REDIS, p) for p in (0, 9)] == [0, 9]
    assert [celery_priority(RABBITMQ, p) for p in (0, 9)] == [9, 0]


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ("redis+socket:///run/farm/redis.sock?virtual_host=3", "unix:///run/farm/redis.sock?db=3"),
        ("redis+socket:///run/farm/redis.sock", "unix:///run/farm/redis.sock?db=0"),
        ("redis://:secret@host:6379/2", "redis://:secret@host:6379/2"),
        ("rediss://host/0", "rediss://host/0"),
    ],
)
def test_a_broker_url_as_redis_py_writes_it(broker: str, expected: str) -> None:
    assert redis_py_url(broker) == expected


def test_both_forms_of_a_socket_url_reach_the_same_redis(
    redis_url: str, tmp_path: Path, catalog: Catalog
) -> None:
    app = make_celery(Settings(BROKER_URL=redis_url, data=tmp_path), catalog)
    with app.connection_for_write() as connection:
        connection.default_channel.client.set("seen", "yes")
    with redis.Redis.from_url(redis_py_url(redis_url)) as client:
        assert client.get("seen") == b"yes"


def test_every_model_has_its_queue_and_nothing_else_exists(
    redis_url: str, tmp_path: Path, catalog: Catalog
) -> None:
    app = make_celery(Settings(BROKER_URL=redis_url, data=tmp_path), catalog)
    assert set(app.amqp.queues) == {
        *catalog.queues,
        INTAKE_QUEUE,
        WEBHOOKS_QUEUE,
        CONTROL_QUEUE,
    }
    assert queue_names(catalog)[-1] == CONTROL_QUEUE
    assert set(messages_waiting(app).items()) == {(name, 0) for name in queue_names(catalog)}


def test_messages_of_every_priority_are_counted(
    redis_url: str, tmp_path: Path, catalog: Catalog
) -> None:
    app = make_celery(Settings(BROKER_URL=redis_url, data=tmp_path), catalog)
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        for priority in range(10):
            app.send_task("farm.generate", queue="gpu.sdxl", priority=priority, producer=producer)
    assert messages_waiting(app)["gpu.sdxl"] == 10


def test_no_broker_is_a_sentence(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(SetupError, match="BROKER_URL"):
        make_celery(Settings(data=tmp_path), catalog)


def test_a_broker_that_is_away_is_one_error(tmp_path: Path, catalog: Catalog) -> None:
    url = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
    with pytest.raises(BrokerUnavailable):
        messages_waiting(make_celery(Settings(BROKER_URL=url, data=tmp_path), catalog))


def test_only_json_is_read_and_nothing_is_pickled(
    redis_url: str, tmp_path: Path, catalog: Catalog
) -> None:
    conf = make_celery(Settings(BROKER_URL=redis_url, data=tmp_path), catalog).conf
    assert conf.accept_content == ["json"]
    assert conf.task_ignore_result
    assert not conf.task_acks_late


def test_every_task_name_is_registered(settings: Settings) -> None:
    from tasks.registration import build

    app, _ = build(settings)
    assert {name for name in app.tasks if name.startswith("farm.")} == set(TASKS)


def test_beat_schedules_every_control_task(settings: Settings) -> None:
    from tasks.beat import schedule

    table = schedule(settings)
    assert {entry["task"] for entry in table.values()} == set(TASKS) - {GENERATE, FETCH, CANARY}
    queues = {task: entry["options"]["queue"] for task, entry in table.items()}
    assert queues.pop(WEBHOOKS) == WEBHOOKS_QUEUE
    assert set(queues.values()) == {CONTROL_QUEUE}
    assert all(entry["options"]["expires"] <= 3600 for entry in table.values())
