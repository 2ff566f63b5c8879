"""Telling customers of their jobs' ends: https://www.standardwebhooks.com, version 1 signatures.

The way of one message: :mod:`outbox` (written with the job's end), :mod:`deliveries` (claimed,
tried, given up), :mod:`payload` and :mod:`signing` (what is sent), :mod:`send` (over the
network), :mod:`pump` (all of it, again and again). :mod:`endpoints` are who is told.
"""

from __future__ import annotations

from farm.webhooks.outbox import JOB_EVENTS, PING
from farm.webhooks.targets import check_target

__all__ = ["JOB_EVENTS", "PING", "check_target"]
