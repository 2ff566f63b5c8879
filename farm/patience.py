"""How long a process waits for PostgreSQL by its own clock, whatever becomes of the server.

PostgreSQL ends a statement that takes too long, as long as it is there to do so. A server that
hangs, or a network that swallows everything, says nothing at all, and libpq would wait for ever:
TCP alone notices only a peer that does not acknowledge. So psycopg2 waits by :func:`_wait`,
which gives up (https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries).
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, text

CONNECT_S = 2.0
"""The longest that connecting may take, from the first packet to the last."""
PAUSE_S = 1.0
"""After a connect that took too long nobody tries for this long: all are told at once."""
_MARGIN_S = 0.25
"""The server gives up first, so that a slow statement leaves a connection that can be used."""


def bounded_connection(timeout_s: float) -> type[extensions.connection]:
    """A class of connections that wait for an answer a little longer than the server works on it.

    Sets how psycopg2 waits in this process; connections of other classes wait without a bound.

    Args:
        timeout_s: the server's own limit for a statement.
    """
    extensions.set_wait_callback(_wait)
    return type("Bounded", (extensions.connection,), {"answer_s": timeout_s + _MARGIN_S})


@contextlib.contextmanager
def statements_may_take(connection: Connection, timeout_s: float) -> Iterator[None]:
    """Give the statements of the running transaction another limit, in this block."""
    driver: Any = connection.connection.driver_connection
    usual_s = driver.answer_s
    connection.execute(text(f"SET LOCAL statement_timeout = '{int(timeout_s * 1000)}ms'"))
    driver.answer_s = timeout_s + _MARGIN_S
    try:
        yield
    finally:
        driver.answer_s = usual_s


class Doorman:
    """Connects for a pool; keeps threads from waiting one after the other for nobody.

    Where a connect took too long, whoever wants one in the next second is refused at once, and
    after that one thread at a time tries again. A refusal by the server costs no time, and
    changes nothing. Thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._closed_until = 0.0
        """0 while everybody may try."""

    def connect(self, *arguments: Any, **options: Any) -> Any:
        """A connection of psycopg2's. Raises psycopg2.OperationalError."""
        self._enter()
        started = self._clock()
        try:
            connection = psycopg2.connect(*arguments, **options)
        except psycopg2.OperationalError:
            ended = self._clock()
            with self._lock:
                took_long = ended - started >= CONNECT_S
                self._closed_until = ended + PAUSE_S if took_long else 0.0
            raise
        self._closed_until = 0.0
        return connection

    def _enter(self) -> None:
        with self._lock:
            if not self._closed_until:
                return
            now = self._clock()
            if now < self._closed_until:
                raise psycopg2.OperationalError("PostgreSQL did not answer a moment ago")
            # This one tries; the others are told as before until it knows.
            self._closed_until = now + CONNECT_S + PAUSE_S


def _wait(connection: Any) -> None:
    """Wait until libpq has done what it was asked. Raises psycopg2.OperationalError."""
    is_new = connection.status == extensions.STATUS_SETUP
    deadline = 0.0
    while (state := connection.poll()) != extensions.POLL_OK:
        now = time.monotonic()
        if not deadline:
            deadline = now + (CONNECT_S if is_new else getattr(connection, "answer_s", _EVER_S))
        if now >= deadline:
            raise psycopg2.OperationalError("PostgreSQL did not answer in time")
        ready = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        poller = select.poll()
        poller.register(connection.fileno(), ready)
        poller.poll((deadline - now) * 1000 + 1)


_EVER_S = 1_000_000.0
