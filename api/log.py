"""JSON log lines on standard error. What is logged never holds a key, a prompt or a body."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class _Stderr:
    """Looks ``sys.stderr`` up at each line, so that whoever redirected it sees the line."""

    def write(self, line: str) -> int:
        return sys.stderr.write(line)

    def flush(self) -> None:
        sys.stderr.flush()


def get_logger(name: str, level: str = "INFO") -> FilteringBoundLogger:
    """A logger of its own: no global logging set-up is read or changed.

    Args:
        name: shown as ``component``.
        level: the lowest level written, by its name in :mod:`logging`.
    """
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast(Any, _Stderr())),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialise),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        cache_logger_on_first_use=True,
        component=name,
    )
    return cast(FilteringBoundLogger, logger)


def _serialise(event: dict[str, Any], **_: Any) -> str:
    return _encode(event)
