"""Real processes for tests: started with a log file, waited for with a bound, ended by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
_POLL_S = 0.05


def wait_until(condition: Callable[[], T], timeout_s: float, message: str | Callable[[], str]) -> T:
    """Poll until ``condition()`` is true and return what it gave; AssertionError after the bound.

    ``message`` says what was waited for; give a function to look at the state (a log, say)
    only when the wait was in vain.
    """
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            text = message() if callable(message) else message
            raise AssertionError(f"not within {timeout_s:g} s: {text}")
        time.sleep(_POLL_S)
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A started command: its pid, its log, and ways to end it."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen = popen
        self.log = log
        self.pid = popen.pid

    def exit_code(self) -> int | None:
        """What it exited with (minus the signal that killed it); None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """Everything it has written to stdout and stderr so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[psutil.Process]:
        """The process and all its descendants that are alive now, itself first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.pid)
            return [member for member in (top, *top.children(recursive=True)) if is_alive(member)]
        return []

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children."""
        self._popen.send_signal(signum)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return its exit code; AssertionError after the bound."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"process {self.pid} was still running after {timeout_s:g} s; its log:\n"
                f"{self.output()[-4000:]}"
            ) from None

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, wait; then SIGKILL for it and every descendant that is left. Its exit code."""
        family = self.family()
        if self.exit_code() is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout_s)
        for member in [*family, *self.family()]:
            if is_alive(member):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        return self._popen.wait(10.0)


def is_alive(process: psutil.Process) -> bool:
    """True while it runs; a zombie, which only its parent can remove, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Process]:
    """Run a command in its own session, stdout and stderr into ``log``; ended on exit.

    ``env`` is added to this process's environment.
    """
    with log.open("ab") as file:
        popen = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    process = Process(popen, log)
    try:
        yield process
    finally:
        process.stop()
