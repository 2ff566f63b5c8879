"""The broker: which queues there are, and every Celery setting with its reason beside it.

The broker is a doorbell and PostgreSQL the truth, so everything here is set for low latency
and clean failure; nothing relies on a message being kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from farm.catalog import PRIORITY_LAST, Catalog
from farm.config import Settings
from farm.errors import BrokerUnavailable
from farm.messages import CONTROL_QUEUE, INTAKE_QUEUE, WEBHOOKS_QUEUE
from farm.reconnecting import BrokerAmqp

PRIORITY_STEPS = (0, 3, 6, 9)
"""The priorities that Redis keeps apart: a list of its own for each, and one more key in every
wait. Priorities between two steps share the higher one."""

RABBITMQ_PRIORITIES = 10
# RabbitMQ keeps priorities only where the queue asks for them; Redis ignores this.
_QUEUE_ARGUMENTS = {"x-max-priority": RABBITMQ_PRIORITIES}
_SOCKET_URL = "redis+socket://"


def is_redis(broker_url: str) -> bool:
    """Whether the broker is a Redis; otherwise it is a RabbitMQ."""
    return broker_url.startswith("redis")


def celery_priority(broker_url: str, priority: int) -> int:
    """The broker's number for the farm's ``priority``, which is 0 for first and 9 for last.

    Redis serves 0 first, RabbitMQ serves it last. Nothing else may know.
    """
    return priority if is_redis(broker_url) else PRIORITY_LAST - priority


def redis_py_url(url: str) -> str:
    """A broker URL as redis-py writes it; kombu has a form of its own for unix sockets.

    ``redis+socket:///run/redis.sock?virtual_host=2`` becomes ``unix:///run/redis.sock?db=2``;
    other Redis URLs are the same for both.
    """
    if not url.startswith(_SOCKET_URL):
        return url
    parts = urlsplit(url)
    number = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.netloc}{parts.path}?db={number.lstrip('/') or '0'}"


def queue_names(catalog: Catalog) -> tuple[str, ...]:
    """Every queue of the farm: one for each model (some models may share), then control's."""
    return (*catalog.queues, INTAKE_QUEUE, WEBHOOKS_QUEUE, CONTROL_QUEUE)


def make_celery(settings: Settings, catalog: Catalog) -> Celery:
    """The Celery application that both ends of the queues share. Opens no connection.

    Raises:
        SetupError: no message broker is set.
    """
    url = settings.need_broker()
    app = Celery("farm", broker=url, amqp=BrokerAmqp, set_as_current=False)
    app.conf.update(_queue_settings(catalog))
    app.conf.update(_message_settings())
    app.conf.update(_worker_settings(settings))
    app.conf.update(_connection_settings(url))
    return app


def _queue_settings(catalog: Catalog) -> dict[str, Any]:
    return {
        "task_queues": [
            Queue(
                name,
                routing_key=name,
                queue_arguments=_QUEUE_ARGUMENTS,
            )
            for name in queue_names(catalog)
        ],
        # A misspelt queue is an error at once instead of a queue that nobody serves.
        "task_create_missing_queues": False,
        "task_default_queue": CONTROL_QUEUE,
    }


def _message_settings() -> dict[str, Any]:
    return {
        # No user's byte is ever unpickled.
        "task_serializer": "json",
        "accept_content": ["json"],
        # Results are rows in PostgreSQL. A result backend would be a second, weaker truth.
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # Messages need not survive RabbitMQ: not written to disk, and rung again by the sweeper.
        "task_default_delivery_mode": 1,
        # Acknowledged when it starts: the lease, not the broker, brings back a lost job, and
        # a job of any length never meets a broker's delivery timeout.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        # A ring that cannot be sent is sent by the sweeper; the dispatcher retries a little.
        "task_publish_retry": False,
        # It would double the messages of every submit. The database has that moment.
        "task_send_sent_event": False,
        "enable_utc": True,
        "timezone": "UTC",
    }


def _worker_settings(settings: Settings) -> dict[str, Any]:
    return {
        # The parent answers pings and kills what hangs; the child owns the GPU.
        "worker_pool": "prefork",
        # The child holds models that took minutes to load: it is never recycled.
        "worker_max_tasks_per_child": None,
        # One message in hand: whatever is reserved behind a running job, nobody else can run.
        "worker_prefetch_multiplier": 1,
        # Not even that one, where Celery can do it (early ack frees the slot at once, and
        # the next message would wait in this worker while another one idles).
        "worker_disable_prefetch": is_redis(settings.need_broker()),
        # SIGQUIT, or a second Ctrl-C, waits as long as SIGTERM does for the running job.
        "worker_soft_shutdown_timeout": settings.drain_s,
        # A lost broker connection does not concern a job that is running: its lease does.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        # Flower shows tasks from events, and finds workers by remote control.
        "worker_send_task_events": True,
        "worker_enable_remote_control": True,
        # Beat's memory of what it ran last, beside the farm's other files.
        "beat_schedule_filename": str(settings.data / "beat-schedule"),
        # There are no results to clean up.
        "result_expires": None,
        # Beat looks at its table at least this often, in seconds.
        "beat_max_loop_interval": 5,
    }


def _connection_settings(url: str) -> dict[str, Any]:
    return {
        # A broker may be away for a night; workers are there again when it is.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 4.0,
        # Bounded: a full pool is an error, not a request that hangs. Seconds.
        "broker_pool_acquire_timeout": 2.0,
        # An inspect() holds one connection while it waits, without a bound, for a second one:
        # eight at once, as Flower makes them, stop for ever in a pool of eight.
        "broker_pool_limit": 32,
        # RabbitMQ: a peer that vanished without a word is noticed within a minute.
        "broker_heartbeat": 30,
        "broker_transport_options": _redis_options() if is_redis(url) else {},
    }


def _redis_options() -> dict[str, Any]:
    return {
        "priority_steps": list(PRIORITY_STEPS),
        # A connection that died silently is an error after this, not a hang. It must be longer
        # than the second for which a worker's BRPOP blocks.
        "socket_timeout": 5.0,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
        # Idle connections are tried before they are used, and a worker's every so often.
        "health_check_interval": 10,
        # What a worker has taken is not noted down in Redis and given back when the worker dies:
        # the sweeper has rung again long before.
        "ack_emulation": False,
    }


@contextlib.contextmanager
def mapped_failures(connection: Connection) -> Iterator[None]:
    """Turn what a broker's client library raises into BrokerUnavailable."""
    kinds = (OperationalError, *connection.connection_errors, *connection.channel_errors)
    try:
        yield
    except kinds as error:
        raise BrokerUnavailable(
            f"The message broker does not answer ({type(error).__name__})."
        ) from error


def connect(connection: Connection) -> None:
    """Connect now or not at all; a no-op where it is connected. Raises what kombu raises."""
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def messages_waiting(app: Celery, only: Collection[str] = ()) -> dict[str, int]:
    """How many messages wait in each queue; those a worker has in hand are not counted.

    Args:
        only: these queues; all of them where it is empty.

    Raises:
        BrokerUnavailable: it does not answer.
    """
    connection = app.connection_for_write()
    with contextlib.closing(connection), mapped_failures(connection):
        connect(connection)
        channel = connection.default_channel
        queues = (queue for name, queue in app.amqp.queues.items() if not only or name in only)
        return {queue.name: _declare(channel, queue) for queue in queues}


def _declare(channel: Any, queue: Queue) -> int:
    """Declare a queue, a no-op where it exists; returns the length the broker reports."""
    reply = channel.queue_declare(
        queue=queue.name,
        durable=queue.durable,
        exclusive=queue.exclusive,
        auto_delete=queue.auto_delete,
        arguments=_QUEUE_ARGUMENTS,
    )
    return int(reply.message_count)
