"""Keeps processes running as a service manager would: what ends is started again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from tests.processes import Process

_LOOK_S = 0.1


class Keeper:
    """Restarts each of its processes that ends, until ``__exit__``.

    Args:
        start: starts the process of a name, as ``farm worker`` is one; called from its thread.
    """

    def __init__(self, start: Callable[[str], Process]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._kept: dict[str, Process] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.restarts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the keeper did not stop within 30 s"

    def keep(self, name: str) -> Process:
        """Start a process and keep it running from now on."""
        with self._lock:
            assert name not in self._kept, f"{name} is kept already"
            self._kept[name] = process = self._start(name)
        return process

    def let_go(self, name: str) -> Process:
        """Keep it no longer; it runs on."""
        with self._lock:
            return self._kept.pop(name)

    def process(self, name: str) -> Process:
        """The process that has the name now."""
        with self._lock:
            return self._kept[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that is kept."""
        with self._lock:
            return tuple(self._kept)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            with self._lock:
                for name, process in list(self._kept.items()):
                    if process.exit_code() is not None:
                        self._kept[name] = self._start(name)
                        self.restarts += 1
