"""The programs of ``farm up`` under supervisord: its configuration, and what it says of them."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import os
import shlex
import signal
import socket
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.servers import Server

START_S = 2
"""A program that ends sooner than this has failed to start; it is tried again, ever later."""
START_RETRIES = 8
_GROUP = "farm"
_KILLING_S = 15.0
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Program:
    """One command to keep running; ``name`` is also its log file's.

    After ``stop_s`` it is killed when it has not ended by itself.
    """

    name: str
    command: Sequence[str]
    stop_s: int


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What supervisord says of a program: ``STARTING``, ``RUNNING``, ``BACKOFF``, ``FATAL``, …"""

    name: str
    state: str
    pid: int
    exit_status: int


class Supervisor:
    """supervisord as a private server with its programs.

    Args:
        programs: started in this order, stopped all at once.
        sockets: a private folder with a short path for its control socket.
        logs: the folder of every log.
    """

    def __init__(self, programs: Sequence[Program], sockets: Path, logs: Path) -> None:
        self._socket = sockets / "supervisor.sock"
        self._config = sockets / "supervisord.conf"
        self.logs = logs
        self._stop_s = max(program.stop_s for program in programs)
        self._config.write_text(self._configuration(programs), encoding="utf-8")
        self.server = Server(
            name="The supervisor",
            url=f"unix://{self._socket}",
            folder=sockets,
            log=logs / "supervisor.log",
            command=[sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self._config)],
            prepare=lambda: self._socket.unlink(missing_ok=True),
            answers=lambda _pid: self._answers(),
            stop_signal=signal.SIGTERM,
        )

    def start(self) -> None:
        """Start supervisord and with it every program. Raises SetupError."""
        self.server.start()

    def stop(self) -> None:
        """Stop every program, then supervisord; kill what takes too long."""
        self.server.stop(timeout_s=self._stop_s + _KILLING_S)

    def states(self) -> dict[str, ProgramState]:
        """Each program by name; empty while supervisord does not answer."""
        try:
            found: Any = self._proxy().supervisor.getAllProcessInfo()
        except (OSError, http.client.HTTPException):
            return {}
        return {
            info["name"]: ProgramState(
                info["name"], info["statename"], info["pid"], info["exitstatus"]
            )
            for info in found
        }

    def try_again(self, name: str) -> None:
        """Start a program that supervisord has given up on."""
        with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.Fault):
            self._proxy().supervisor.startProcess(f"{_GROUP}:{name}", False)

    def _answers(self) -> bool:
        return self._socket.exists() and bool(self.states())

    def _proxy(self) -> xmlrpc.client.ServerProxy:
        return xmlrpc.client.ServerProxy("http://farm", transport=_UnixTransport(self._socket))

    def _configuration(self, programs: Sequence[Program]) -> str:
        sections: list[tuple[str, Mapping[str, object]]] = [
            (
                "supervisord",
                {
                    "nodaemon": "true",
                    "silent": "true",
                    "logfile": self.logs / "supervisor.log",
                    "logfile_maxbytes": "10MB",
                    "pidfile": self._socket.with_name("supervisord.pid"),
                    "childlogdir": self.logs,
                    # Said outright, since supervisord warns a root that did not say so.
                    **({"user": getpass.getuser()} if os.getuid() == 0 else {}),
                },
            ),
            ("unix_http_server", {"file": self._socket, "chmod": "0700"}),
            (
                "rpcinterface:supervisor",
                {
                    "supervisor.rpcinterface_factory": (
                        "supervisor.rpcinterface:make_main_rpcinterface"
                    )
                },
            ),
        ]
        # In one group, since groups are stopped one after the other, and its members together.
        sections.append((f"group:{_GROUP}", {"programs": ",".join(p.name for p in programs)}))
        sections += [
            (f"program:{program.name}", self._program(program, number))
            for number, program in enumerate(programs)
        ]
        lines = []
        for title, values in sections:
            lines.append(f"[{title}]")
            lines += [f"{key}={str(value).replace('%', '%%')}" for key, value in values.items()]
        return "\n".join(lines) + "\n"

    def _program(self, program: Program, number: int) -> dict[str, object]:
        return {
            "command": shlex.join(program.command),
            "priority": number,
            "autorestart": "true",
            "startsecs": START_S,
            "startretries": START_RETRIES,
            "stopsignal": "TERM",
            "stopwaitsecs": program.stop_s,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": self.logs / f"{program.name}.log",
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 3,
        }


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket, with a bound on every wait."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("farm", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_S)
        self.sock.connect(str(self._path))
