"""JSON log lines on standard error. What is logged never holds a key, a prompt or a body."""

from __future__ import annotations

import json
import logging
import sys
import threading
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import structlog
from structlog.typing import FilteringBoundLogger

LINES_MAX = 10_000
"""Access lines that may wait to be written; older ones make room for newer ones."""
_GATHER_S = 0.1

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class _Stderr:
    """Looks ``sys.stderr`` up at each line, so that whoever redirected it sees the line."""

    def write(self, line: str) -> int:
        return sys.stderr.write(line)

    def flush(self) -> None:
        sys.stderr.flush()


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger of its own, from INFO up: no global logging set-up is read or changed.

    Args:
        name: shown as ``component``.
    """
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast(Any, _Stderr())),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialise),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
        component=name,
    )
    return cast(FilteringBoundLogger, logger)


class Access(NamedTuple):
    """One answered request."""

    at: float
    """Unix seconds, when it was answered."""
    request_id: str
    method: str
    path: str
    status: int
    seconds: float
    key_id: uuid.UUID | None


class AccessLog:
    """A line for each request, written by a thread of its own a tenth of a second later.

    A write of its own for every request would cost a thread switch each; in return, a process
    that is killed takes the last tenth of a second of lines with it.

    Args:
        level: the lowest level written, by its name in :mod:`logging`; these lines are INFO.
    """

    def __init__(self, level: str) -> None:
        self._enabled = logging.getLevelNamesMapping()[level.upper()] <= logging.INFO
        self._lines: deque[Access] = deque(maxlen=LINES_MAX)
        self._some = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, line: Access) -> None:
        """Write this line soon. Starts the thread at the first one: after any fork."""
        if not self._enabled:
            return
        self._lines.append(line)
        if not self._some.is_set():
            self._some.set()
            if self._thread is None:
                self._start()

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._closed.set()
        self._some.set()
        if self._thread is not None:
            self._thread.join(1.0)
        self._write()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._some.wait()
            self._closed.wait(_GATHER_S)
            # Cleared before the lines are taken: one that comes in between sets it again.
            self._some.clear()
            self._write()

    def _write(self) -> None:
        taken = []
        while self._lines:
            taken.append(_access_line(self._lines.popleft()))
        if taken:
            sys.stderr.write("".join(taken))
            sys.stderr.flush()


def _access_line(line: Access) -> str:
    moment = datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds")
    fields = {
        "component": "api.access",
        "event": "request",
        "level": "info",
        "timestamp": moment,
        "request_id": line.request_id,
        "method": line.method,
        "path": line.path,
        "status": line.status,
        "ms": round(line.seconds * 1000, 2),
        "key": line.key_id,
    }
    return _encode(fields) + "\n"


def _serialise(event: dict[str, Any], **_: Any) -> str:
    return _encode(event)
