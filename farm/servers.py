"""One private server process: started, restarted and ended by pid; its folder and its socket.

What ``farm/embedded.py`` builds its PostgreSQL and its Redis from.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import logging
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from farm.errors import SetupError

_SOCKET_PATH_MAX = 100
"""Bytes; Linux allows 107 in a socket's path, others a few less."""
_RUNTIME_PATH_MAX = 40
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1

_log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class Server:
    """One private server process and how to reach, restart and end it.

    ``url`` stays the same over ``stop()`` and ``start()``, so that clients can reconnect.
    ``prepare`` clears what a crash left behind; ``answers(pid)`` says whether it is up.
    """

    name: str
    url: str
    folder: Path
    log: Path
    command: Sequence[str]
    prepare: Callable[[], None]
    answers: Callable[[int], bool]
    stop_signal: signal.Signals
    user: pwd.struct_passwd | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The process id of the running server; 0 where none runs."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def start(self, timeout_s: float = 30.0) -> None:
        """Start the server and return once it answers.

        Raises:
            SetupError: it ended or did not answer in time; the message quotes its log.
        """
        if self.pid:
            return
        self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches the whole process group; the servers go last.
                start_new_session=True,
                # Two system calls on memory that is there before the fork: safe beside threads.
                preexec_fn=die_with_parent(self.stop_signal),  # noqa: PLW1509
                umask=0o077,
                **drop_to(self.user),
            )
        deadline = time.monotonic() + timeout_s
        while not self.answers(self._process.pid):
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.stop(timeout_s=5.0)
                what = (
                    f"ended with {code}" if code is not None else f"was not up in {timeout_s:g} s"
                )
                raise SetupError(
                    f"{self.name} {what}. Its log {self.log} ends: {self._last_line()}"
                )
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = 20.0) -> None:
        """End the server by pid: asked first, killed when it takes longer than ``timeout_s``."""
        if self._process is None:
            return
        if self._process.poll() is None:
            end(psutil.Process(self._process.pid), self.stop_signal, timeout_s)
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; ``start()`` brings it back."""
        if self._process is not None:
            kill_family(psutil.Process(self._process.pid))
            self._process.wait()
            self._process = None

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "(nothing)"


def die_with_parent(signum: int, parent: int | None = None) -> Callable[[], None] | None:
    """A ``preexec_fn`` that has the kernel send ``signum`` to the child when its parent dies.

    None where the system cannot (anything but Linux). The parent is the thread that starts
    the child, so start children from a thread that lives as long as they should. ``parent``
    is its pid, by default this process's.
    """
    if _libc is None:
        return None
    prctl, expected = _libc.prctl, parent or os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
        if os.getppid() != expected:  # it died between the fork and the line above
            os._exit(1)

    return ask


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it however the process ends."""
    with (folder / "lock").open("a", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(
                f"Another process uses {folder}. Stop it, or give another folder with --data DIR."
            ) from error
        yield


@contextlib.contextmanager
def socket_folder(folder: Path, user: pwd.struct_passwd | None) -> Iterator[Path]:
    """A private folder whose path is short and plain enough for a socket; removed on exit.

    Its name follows from ``folder``, so a restart finds the same one.
    """
    path = folder / "run"
    plain = re.fullmatch(r"[\w./+-]+", str(path), re.ASCII)
    if not plain or len(os.fsencode(path / ".s.PGSQL.5432.lock")) > _SOCKET_PATH_MAX:
        digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:12]
        path = _runtime_folder() / f"farm-{os.getuid()}-{digest}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    owner = user.pw_uid if user else os.getuid()
    # In a shared /tmp someone else may have made it first, to look into it.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.getuid()):
        raise SetupError(f"{path} belongs to somebody else. Remove it, or give --data DIR.")
    path.chmod(0o700)
    give(path, user)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _runtime_folder() -> Path:
    """The user's runtime folder; as root /tmp, since root's own is closed to the server's user."""
    for folder in (Path(f"/run/user/{os.getuid()}"), Path(tempfile.gettempdir())):
        closed = os.getuid() == 0 and folder.name == "0"
        usable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        if usable and not closed and len(os.fsencode(folder)) <= _RUNTIME_PATH_MAX:
            return folder
    return Path("/tmp")


def give(path: Path, user: pwd.struct_passwd | None) -> None:
    """Make ``user`` the owner of a folder; None leaves it with this process's user."""
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


def drop_to(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """The subprocess arguments that make a child run as ``user``."""
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def end_orphan(pid: int, name: str, folder: Path, signum: signal.Signals) -> None:
    """End the server with this pid if it is one, and works in this folder; else leave it be."""
    if pid <= 0:
        return
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(pid)
        if process.name() == name and Path(process.cwd()) == folder.absolute():
            _log.warning("ending the %s (pid %d) that a killed farm left in %s", name, pid, folder)
            end(process, signum, timeout_s=20.0)


def end(process: psutil.Process, signum: signal.Signals, timeout_s: float) -> None:
    """Signal a process and wait for its end; after ``timeout_s`` kill it with its children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signum)
        try:
            process.wait(timeout_s)
        except psutil.TimeoutExpired:
            kill_family(process)


def kill_family(process: psutil.Process) -> None:
    """SIGKILL to a process and all its descendants, and wait (bounded) until they are gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        deadline = time.monotonic() + 5.0
        # A zombie is gone in all but name, and its parent may never ask for it.
        while any(is_alive(member) for member in family) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def is_alive(process: psutil.Process) -> bool:
    """True while the process runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
