"""A private RabbitMQ for a test: own ports, folders, cookie and epmd; ended by pid."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.processes import Process, free_port, is_alive, running, wait_until
from tests.programs import program

_STARTED_S = 120.0
"""It takes a few seconds on a machine that has nothing else to do."""
# Debian's own command in /usr/sbin changes to the user `rabbitmq` and its folders.
_SERVERS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/sbin/rabbitmq-server")


def server_command() -> str:
    """The server's command; where there is none the test fails in CI and is skipped at home."""
    return program("rabbitmq-server", "rabbitmq-server", *_SERVERS)


class RabbitMQ:
    """A server that may be started again where it was, after its end by :meth:`kill`.

    Args:
        folder: made here; everything of it is in there.
    """

    def __init__(self, command: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.port, distribution, epmd = free_port(), free_port(), free_port()
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = true\nlog.file = false\n"
        )
        self._command, self._folder, self._epmd = command, folder, epmd
        self._env = {
            "HOME": str(folder),  # the Erlang cookie
            "RABBITMQ_NODENAME": f"farm{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "no-advanced"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # Two schedulers are plenty, and do not spin while they wait.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }
        self._stack = contextlib.ExitStack()
        self._server: Process | None = None

    @property
    def url(self) -> str:
        """Where it answers, also after a restart."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start it and return once it answers."""
        log = self._folder / "server.log"
        server = self._server = self._stack.enter_context(
            running([self._command], log, env=self._env, cwd=self._folder)
        )
        wait_until(
            lambda: _answers(self.port) or server.exit_code() is not None, _STARTED_S, server.output
        )
        assert server.exit_code() is None, server.output()

    def kill(self) -> None:
        """End it with SIGKILL, with all that it started."""
        if self._server is not None:
            for member in self._server.family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            self._server.wait(10.0)

    def close(self) -> None:
        """End it, and Erlang's name server with it."""
        self._stack.close()
        _end_epmd(self._epmd)


@contextlib.contextmanager
def start_rabbitmq(command: str, folder: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ on a loopback port of its own; ended on exit."""
    server = RabbitMQ(command, folder)
    with contextlib.closing(server):
        server.start()
        yield server


def _answers(port: int) -> bool:
    """Whether somebody speaks AMQP there: an unknown protocol is answered with the known one."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as link:
        link.settimeout(2.0)
        link.sendall(b"AMQP\x00\x00\x00\x00")
        return link.recv(4) == b"AMQP"
    return False


def _end_epmd(port: int) -> None:
    """Erlang's name server outlives the node that started it; it is known by its port."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "epmd":
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.environ().get("ERL_EPMD_PORT") == str(port):
                process.kill()
                wait_until(lambda found=process: not is_alive(found), 10, "epmd stays")  # type: ignore[misc]
