"""Watching over the processes of ``farm up``: what died, what came back, when all is ready."""

from __future__ import annotations

import contextlib
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

import click

from farm.cli.supervision import Supervisor
from farm.errors import SetupError
from farm.servers import Server

READY_S = 180.0
_POLL_S = 0.5
_PARTS = ("database", "broker", "control")
_BACKOFF_MAX_S = 60.0
_SETTLED_S = 60.0
"""A server that ran this long before it died is restarted at once again."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM. Not an Exception, so that nothing on the way takes it for a failure."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into an orderly way out; ignore further ones."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        # Being asked to stop is the ordinary end of `farm up`, not an error.
        with contextlib.suppress(Stopped):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Kept:
    """A server to restart when it dies, with its back-off."""

    server: Server
    started: float
    delay_s: float = 0.0
    due: float | None = None


class Watch:
    """Restarts servers and reports every restart in one line, here and in ``farm.log``."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._kept: list[_Kept] = []
        self._supervisor: Supervisor | None = None
        self._pids: dict[str, int] = {}
        self._given_up: dict[str, float] = {}

    def keep(self, servers: Sequence[Server], supervisor: Supervisor) -> None:
        """Watch over these servers, and over the programs of this supervisor."""
        now = time.monotonic()
        self._kept = [_Kept(server, now) for server in servers]
        self._supervisor = supervisor

    def look(self) -> None:
        """One look at everything: restart what died, say so."""
        for kept in self._kept:
            self._look_at(kept)
        self._look_at_programs()

    def until_stopped(self) -> None:
        """Look again and again until a signal raises :class:`Stopped`."""
        while True:
            time.sleep(_POLL_S)
            self.look()

    def failed(self) -> list[str]:
        """The programs that the supervisor has given up on."""
        return list(self._given_up)

    def log_of(self, program: str) -> Path:
        """Where a program's output goes."""
        return self._log.with_name(f"{program}.log")

    def _look_at(self, kept: _Kept) -> None:
        now = time.monotonic()
        server = kept.server
        if server.pid:
            if now - kept.started > _SETTLED_S:
                kept.delay_s = 0.0
            return
        if kept.due is None:
            kept.due = now + kept.delay_s
            kept.delay_s = min(max(1.0, kept.delay_s * 2), _BACKOFF_MAX_S)
        if now < kept.due:
            return
        kept.due = None
        try:
            server.start()
        except SetupError as error:
            self._say(f"{server.name} died and did not come back: {error}")
            return
        kept.started = time.monotonic()
        self._say(f"{server.name} died and was started again (pid {server.pid}).")

    def _look_at_programs(self) -> None:
        if self._supervisor is None:
            return
        for name, state in self._supervisor.states().items():
            known = self._pids.get(name, 0)
            if state.pid and state.pid != known:
                self._pids[name] = state.pid
                if known:
                    self._say(f"{name} died and was started again (pid {state.pid}).")
            if state.state == "RUNNING":
                self._given_up.pop(name, None)
            elif state.state == "FATAL":
                self._try_again(name)

    def _try_again(self, name: str) -> None:
        assert self._supervisor is not None
        now = time.monotonic()
        if name not in self._given_up:
            self._given_up[name] = now
            self._say(
                f"{name} keeps ending; trying again every {_BACKOFF_MAX_S:g} s. "
                f"Its log: {self.log_of(name)}"
            )
        elif now - self._given_up[name] > _BACKOFF_MAX_S:
            self._given_up[name] = now
            self._supervisor.try_again(name)

    def _say(self, line: str) -> None:
        click.echo(line)
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")


def wait_until_ready(address: str, watch: Watch, timeout_s: float = READY_S) -> None:
    """Return once ``/readyz`` answers 200.

    Raises:
        SetupError: a program cannot start, or it took too long; the message says which.
    """
    deadline = time.monotonic() + timeout_s
    said = 0.0
    while True:
        answer = _readiness(address)
        if answer is None:
            return
        watch.look()
        for name in watch.failed():
            log = watch.log_of(name)
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise SetupError(
                f"{name} does not start. Its log {log} ends: {lines[-1] if lines else '(nothing)'}"
            )
        now = time.monotonic()
        if now > deadline:
            raise SetupError(
                f"The farm was not ready in {timeout_s:g} s: {answer}. "
                f"The logs are in {watch.log_of('farm').parent}."
            )
        if now - said > 5.0:
            said = now
            click.echo(f"Starting: {answer}")
        time.sleep(_POLL_S)


def _readiness(address: str) -> str | None:
    """None when the farm is ready, else what it waits for."""
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5.0):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return _waiting_for(error.read(65_536))
    except OSError:
        return "the API does not answer yet"


def _waiting_for(body: bytes) -> str:
    """What ``/readyz`` says is missing: database, broker, control, or queues without a worker."""
    try:
        found = json.loads(body)
        missing = [f"{n} {found[n]}" for n in _PARTS if found[n] != "ok"]
        idle = [name for name, queue in found["queues"].items() if not queue["ready"]]
    except (ValueError, KeyError, TypeError):
        return "the API answers, but not about its readiness"
    if idle:
        missing.append(f"no worker yet for {', '.join(idle)}")
    return "; ".join(missing) or "not ready"
