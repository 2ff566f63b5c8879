"""Telling customers of their jobs' ends: one process at a time sends, for a few minutes."""

from __future__ import annotations

import logging

from farm.intake.urls import policy_of
from farm.webhooks import pump
from farm.webhooks.send import Sender
from tasks.child import Child

FOR_S = 300.0
"""Then the next one takes over: what a long life might gather does not stay."""

_log = logging.getLogger(__name__)


def send_webhooks(child: Child) -> int:
    """Send what is due until the time is over or the worker stops; the number of tries.

    Where another process sends already, it ends at once.

    Raises:
        DatabaseUnavailable: the next run goes on.
    """
    services = child.services
    sender = Sender(policy_of(services.settings))
    sending = pump.Pump(services, sender, stopping=lambda: child.drain.has_begun)
    tries = sending.run(FOR_S)
    if tries is None:
        return 0
    if tries:
        _log.info("tried %d webhooks", tries)
    if not child.drain.has_begun:
        pump.clean(services)
    return tries
