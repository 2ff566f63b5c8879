"""The part of a worker that takes messages: Celery's, for which no broken connection is the end."""

from __future__ import annotations

import logging
import warnings

from celery.exceptions import CPendingDeprecationWarning
from celery.worker import consumer

_log = logging.getLogger(__name__)


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's consumer, which comes back however badly its last connection ended."""

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Put the broken connection away. Whatever cannot be closed any more is left behind:
        Celery would end the worker for it, and wait for ever for the end."""
        try:
            with warnings.catch_warnings():
                # That running jobs go on is a setting of the farm's; Celery asks for it each time.
                warnings.simplefilter("ignore", CPendingDeprecationWarning)
                super().on_connection_error_after_connected(exc)
        except Exception:  # noqa: BLE001
            _log.exception("the broken connection to the broker could not be closed")
            self.connection = None
