"""The farm's guards, each with a way to take it out, so that a test sees what it is there for.

A guard is taken out inside a process of a trial farm only, by its name in ``FAULTS_DISARMED``;
those that live in the database by :func:`tests.faults.guards.drop_from`.
"""

from __future__ import annotations

from collections.abc import Callable

GUARDS: dict[str, Callable[[], None]] = {}
"""By name, what takes it out of this process."""


def take_out(name: str) -> None:
    """Take a guard out of this process. Raises KeyError for one that there is not."""
    GUARDS[name]()
