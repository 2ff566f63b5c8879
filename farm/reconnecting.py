"""How the farm's processes come back to a broker that was away: soon, and whatever it had kept.

Celery and kombu wait longer after each try in vain, up to half a minute, which is as long as every
queue then stands still after the broker is there again. And they give back what was taken and not
acknowledged when a connection ends: to a connection that is broken already.
"""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.transport import redis

PAUSE_MAX_S = 3.0
"""The longest between two tries. A night of them is some megabytes of log for each process."""
_PAUSE_FIRST_S = 0.5
_PAUSE_STEP_S = 0.5


class _Channel(redis.Channel):
    # A message is a doorbell. Where one was taken in vain the sweeper rings again, and giving it
    # back over a connection that is closed was the end of a worker: kombu finds no server to
    # connect to, which Celery takes for a fault that it cannot recover from.
    do_restore = False


class _Transport(redis.Transport):
    Channel = _Channel


class BrokerConnection(Connection):
    """Kombu's connection, which is tried again within seconds for as long as its broker is away."""

    def get_transport_cls(self) -> type:
        """The transport of the broker's URL; of Redis, the one that gives nothing back."""
        found: type = super().get_transport_cls()  # type: ignore[no-untyped-call]
        return _Transport if found is redis.Transport else found

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        pauses = {
            "interval_start": _PAUSE_FIRST_S,
            "interval_step": _PAUSE_STEP_S,
            "interval_max": PAUSE_MAX_S,
        }
        options = {**pauses, **options}
        return super()._ensure_connection(*args, **options)  # type: ignore[no-untyped-call]


class BrokerAmqp(AMQP):  # type: ignore[misc]
    """Celery's dealings with its broker, over connections of this kind."""

    Connection = BrokerConnection
