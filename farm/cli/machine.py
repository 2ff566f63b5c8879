"""What ``farm up`` asks of its machine: ports, GPUs, one farm a folder, no leftovers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from sqlalchemy import Connection, text

from farm.config import SERVICES_FILE, running_services
from farm.errors import SetupError
from farm.servers import Server, end

LOCK_FILE = "up.lock"
_LEFTOVERS_S = 45.0
_CLOCK_SLACK_S = 2.0


def farm_command(*words: str) -> list[str]:
    """The command line of a ``farm`` command under this very Python."""
    return [sys.executable, "-m", "farm.cli", *words]


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine reaches what listens on ``host``."""
    reachable = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def check_port(host: str, port: int) -> None:
    """Raise SetupError where ``host`` is not this machine's or ``port`` is taken."""
    problem = _problem(host, port)
    if problem:
        raise SetupError(f"{host}:{port} cannot be used ({problem}). Give another with --port.")


def port_near(host: str, port: int) -> int:
    """``port`` if it is free, else any that is; any free one for port 0."""
    if port and not _problem(host, port):
        return port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def gpus() -> int:
    """How many CUDA devices the driver lists; 0 where there is no driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    try:
        listed = subprocess.run(
            [command, "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def flower_auth(data: Path) -> str:
    """``user:password`` for Flower, made on the first run and kept in the data folder."""
    path = data / "flower.auth"
    if not path.exists():
        _write_privately(path, f"operator:{secrets.token_urlsafe(12)}\n")
    return path.read_text(encoding="ascii").strip()


def has_accounts(connection: Connection) -> bool:
    """True when anybody has an account here."""
    return bool(connection.execute(text("SELECT EXISTS (SELECT 1 FROM accounts)")).scalar())


@contextlib.contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Hold the data folder for this ``farm up``. Raises SetupError where one runs in it."""
    with (data / LOCK_FILE).open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise SetupError(
                f"A farm is already running in {data} (pid {pid}). "
                "Stop it, or give another folder with --data DIR."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            # Still locked: nobody else can be about to lock the file that goes.
            (data / LOCK_FILE).unlink(missing_ok=True)


def clear_crashed(data: Path) -> None:
    """End what a killed ``farm up`` left running here, and forget what it wrote down.

    Its children are told by the kernel to end when it dies; this waits for the supervisor
    among them, known by its pid and its time of birth, and kills it when it takes too long.
    """
    left = running_services(data).get("supervisor", {})
    if isinstance(left, dict) and left.get("pid"):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(left["pid"]))
            if abs(process.create_time() - float(left.get("born", 0))) < _CLOCK_SLACK_S:
                end(process, signal.SIGTERM, _LEFTOVERS_S)
    (data / SERVICES_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def services_file(data: Path, services: Mapping[str, object], supervisor: Server) -> Iterator[None]:
    """``services.json`` for as long as the farm runs."""
    write_services(data, services, supervisor)
    try:
        yield
    finally:
        (data / SERVICES_FILE).unlink(missing_ok=True)


def write_services(data: Path, services: Mapping[str, object], supervisor: Server) -> None:
    """Write ``services.json`` in one step: a reader sees the old one or the new one."""
    written = {**services, "pid": os.getpid()}
    if supervisor.pid:
        born = psutil.Process(supervisor.pid).create_time()
        written["supervisor"] = {"pid": supervisor.pid, "born": born}
    _write_privately(data / SERVICES_FILE, json.dumps(written, indent=2) + "\n")


def _write_privately(path: Path, content: str) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    draft.replace(path)


def _problem(host: str, port: int) -> str:
    """Why a server could not listen there; empty where it could."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return ""
