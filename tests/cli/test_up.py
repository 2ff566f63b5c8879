"""``farm up`` as real processes: it starts, keeps itself running, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import Farm
from tests.processes import Process, free_port, is_alive, running, wait_until

READY_S = 120.0
STOP_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder with a short path, gone with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="farm-up-") as name:
        yield Path(name)


@contextlib.contextmanager
def farm_up(folder: Path, port: int) -> Iterator[Process]:
    """A ``farm up`` that is ready."""
    number, name = tempfile.mkstemp(prefix="farm-up-", suffix=".log")
    os.close(number)
    log = Path(name)
    command = [sys.executable, "-m", "farm.cli", "up", "--port", str(port), "--data", folder]
    try:
        with running(command, log) as process:
            wait_until(
                lambda: "Ready." in process.output() or process.exit_code() is not None,
                READY_S,
                process.output,
            )
            assert process.exit_code() is None, process.output()
            yield process
    finally:
        log.unlink()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def program(process: Process, word: str) -> psutil.Process:
    """The supervised program whose command line has this word: the master, not its children."""
    for member in process.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            if word in " ".join(member.cmdline()) and "supervisord" in " ".join(
                member.parent().cmdline()
            ):
                return member
    raise AssertionError(f"no program {word}")


def left_in(folder: Path) -> list[str]:
    """Sockets, pid files and the like that outlived the farm."""
    sockets = [str(p) for p in folder.rglob("*") if stat.S_ISSOCK(p.lstat().st_mode)]
    names = ("services.json", "up.lock", "postgres/cluster/postmaster.pid", "redis/redis.pid")
    return sockets + [name for name in names if (folder / name).exists()]


@pytest.mark.timeout(400)
def test_it_starts_heals_and_stops_without_a_trace(folder: Path, bare_farm: Farm) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with farm_up(folder, port) as farm:
        said = farm.output()
        assert f"API     {base}" in said
        assert "No CUDA device: serving the built-in tiny models" in said
        assert f"curl -s {base}/v1/image/generate -H 'Authorization: Bearer pk_live_" in said
        assert (status(f"{base}/healthz"), status(f"{base}/readyz")) == (200, 200)

        services = json.loads((folder / "services.json").read_text(encoding="utf-8"))
        assert services["pid"] == farm.pid
        assert status(services["flower_url"]) == 401
        assert (folder / "services.json").stat().st_mode & 0o077 == 0

        second = bare_farm("up", "--port", str(free_port()), "--data", str(folder))
        assert second.code == 1
        assert f"A farm is already running in {folder} (pid {farm.pid})" in second.err

        # The operator's commands find it through the folder alone.
        nodes = bare_farm("nodes", "--data", str(folder), "--json").json()
        assert {node["node"].split("-")[0] for node in nodes} == {"worker", "control"}
        assert {node["pid"] for node in nodes} <= {member.pid for member in farm.family()}
        assert bare_farm("doctor", "--data", str(folder)).code == 0

        for word, line in (
            ("gunicorn", "api died and was started again"),
            ("--queues=control", "control died and was started again"),
        ):
            program(farm, word).kill()
            wait_until(lambda line=line: line in farm.output(), 30, farm.output)
        redis = next(p for p in farm.family() if p.name() == "redis-server")
        redis.kill()
        wait_until(lambda: "Redis died and was started again" in farm.output(), 30, farm.output)
        wait_until(lambda: status(f"{base}/readyz") == 200, 60, farm.output)
        assert "Redis died" in (folder / "logs" / "farm.log").read_text(encoding="utf-8")

        family = farm.family()
        farm.signal(signal.SIGINT)
        assert farm.wait(STOP_S) == 0, farm.output()
        assert not [member for member in family if is_alive(member)]
    assert left_in(folder) == []


@pytest.mark.timeout(400)
def test_a_killed_farm_takes_everything_along_and_the_next_one_starts(folder: Path) -> None:
    port = free_port()
    with farm_up(folder, port) as farm:
        family = farm.family()
        farm.signal(signal.SIGKILL)
        farm.wait(10)
        # At once, while the first one's programs are still on their way out.
        with farm_up(folder, port) as second:
            assert "pk_live_" not in second.output(), "the account of the first run is there"
            assert not [member for member in family if is_alive(member)]
            assert status(f"http://127.0.0.1:{port}/readyz") == 200
            second.signal(signal.SIGTERM)
            assert second.wait(STOP_S) == 0, second.output()
    assert left_in(folder) == []
