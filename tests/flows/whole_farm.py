"""A whole farm of real processes for a test, each started as the Procfile starts it."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.config import Settings
from farm.embedded import start_redis
from farm.services import Services, build_services
from tests import factories
from tests.farm.checks import scalar
from tests.processes import Process, free_port, running, wait_until
from tests.services import Databases

FLOWER_AUTH = "operator:a-password"
SDXL = {"model": "sdxl", "width": 512, "height": 512, "steps": 20}
FLUX = {"model": "flux-schnell", "width": 512, "height": 512, "steps": 1}
LONG_SDXL = {"model": "sdxl", "width": 1024, "height": 1024, "steps": 50}
"""About ten seconds on the tiny weights and two cores: time to interrupt it."""
TORCH_S = 120.0
"""The longest that a first job may take: it imports torch, perhaps beside other processes."""


@dataclass
class WholeFarm:
    """Settings, processes and a customer of one farm."""

    folder: Path
    env: dict[str, str]
    services: Services
    who: factories.Customer
    stack: contextlib.ExitStack
    api_port: int
    flower_port: int
    processes: list[Process] = field(default_factory=list)

    def start(self, name: str, *arguments: str, **env: str) -> Process:
        """Start ``farm <name> …``; its log is ``<folder>/<name>-<n>.log``."""
        number = sum(1 for _ in self.folder.glob(f"{name}-*.log"))
        command = [sys.executable, "-m", "farm.cli", name, *arguments]
        log = self.folder / f"{name}-{number}.log"
        process = self.stack.enter_context(running(command, log, env={**self.env, **env}))
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End every process, all at the same time."""
        alive = [process for process in self.processes if process.exit_code() is None]
        for process in alive:
            # One that is stopped hears of nothing before it goes on.
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        for process in alive:
            with contextlib.suppress(AssertionError):  # it is killed, with all its own, on exit
                process.wait(30)

    def start_api(self) -> Process:
        """Start gunicorn and wait until it serves."""
        api = self.start("api", "--port", str(self.api_port))
        wait_until(lambda: self._serves(api), 60, api.output)
        return api

    def start_worker(self, *queues: str, **env: str) -> Process:
        """Start a worker and wait until it listens to its queues."""
        arguments = ("--queues", ",".join(queues)) if queues else ()
        worker = self.start("worker", *arguments, **env)
        wait_until(lambda: " ready." in worker.output(), 60, worker.output)
        return worker

    def start_flower(self) -> Process:
        """Start Flower and wait until it serves."""
        flower = self.start("flower", "--port", str(self.flower_port))

        def serves() -> bool:
            assert flower.exit_code() is None, flower.output()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.flower("/api/tasks")
                return True
            return False

        wait_until(serves, 60, flower.output)
        return flower

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One API call with the customer's key; the JSON answer. Raises HTTPError."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.who.key}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def submit(self, request: dict[str, Any]) -> str:
        """Submit a picture through the API; its id."""
        answer = self.call("POST", "/v1/image/generate", {"prompt": "a red circle", **request})
        return str(answer["generation_id"])

    def status(self, generation_id: str) -> dict[str, Any]:
        """The status object, as a client polls it."""
        answer: dict[str, Any] = self.call("GET", f"/v1/image/{generation_id}")
        return answer

    def finished(self, generation_id: str, timeout_s: float = TORCH_S) -> dict[str, Any]:
        """Wait until the job has ended; its status object, as the API shows it.

        The database is asked, because a client may not poll as often as a test does.
        """
        wait_until(
            lambda: self.column("finished_at", generation_id),
            timeout_s,
            lambda: f"{self.status(generation_id)}\n{self.logs()}",
        )
        return self.status(generation_id)

    def column(self, name: str, generation_id: str) -> Any:
        """One column of the job's row."""
        return scalar(self.services, f"SELECT {name} FROM jobs WHERE id = :id", id=generation_id)

    def balance(self) -> float:
        """What the customer can spend, as the API says it."""
        return float(self.call("GET", "/v1/account/balance")["credits_remaining"])

    def flower(self, path: str, auth: str | None = FLOWER_AUTH) -> Any:
        """One call of Flower's API. Raises HTTPError."""
        headers = {}
        if auth is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.flower_port}{path}", headers=headers
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def logs(self) -> str:
        """The end of every process's log, for a failure's message."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )

    def _serves(self, api: Process) -> bool:
        assert api.exit_code() is None, api.output()
        try:
            self.balance()
        except (urllib.error.URLError, ConnectionError):
            return False
        return True


@contextlib.contextmanager
def whole_farm(
    folder: Path, database_url: str, broker_url: str, redis_url: str, **env: str
) -> Iterator[WholeFarm]:
    """A farm without processes yet; whatever is started in it is ended on exit."""
    data = folder / "data"
    api_port, flower_port = free_port(), free_port()
    env = {
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "FARM_REDIS_URL": redis_url,
        "FARM_DATA": str(data),
        "FARM_WEIGHTS": "tiny",
        "FARM_PUBLIC_URL": f"http://127.0.0.1:{api_port}",
        "FARM_FLOWER_AUTH": FLOWER_AUTH,
        "FARM_WEB_WORKERS": "1",
        "FARM_LEASE_S": "3",
        "FARM_SWEEP_EVERY_S": "1",
        "FARM_RERING_AFTER_S": "2",
        "FARM_DRAIN_S": "1",
        # Several workers share a few cores here: their thread pools would fight over them.
        "OMP_NUM_THREADS": "1",
        **env,
    }
    settings = Settings(DATABASE_URL=database_url, BROKER_URL=broker_url, data=data, weights="tiny")
    services = build_services(settings)
    who = factories.customer(services, plan="scale")
    with contextlib.ExitStack() as stack:
        stack.callback(services.dispose)
        farm = WholeFarm(folder, env, services, who, stack, api_port, flower_port)
        yield farm
        farm.end()


@contextlib.contextmanager
def lasting_farm(folder: Path, databases: Databases, **env: str) -> Iterator[WholeFarm]:
    """A farm for the tests of a module: control worker, beat and API run, workers do not.

    Its Redis is its own, because each test's is emptied.

    Args:
        folder: made here; its path must be short, and open to the user of the servers.
    """
    folder.mkdir()
    with (
        start_redis(folder / "redis") as redis,
        databases.fresh() as url,
        whole_farm(folder, url, redis.url, redis.url, **env) as farm,
    ):
        farm.start("control")
        farm.start("beat")
        farm.start_api()
        yield farm


@contextlib.contextmanager
def visited(farm: WholeFarm) -> Iterator[WholeFarm]:
    """That farm for one test: with a customer of its own, and without its processes afterwards."""
    farm.who = factories.customer(farm.services, plan="scale")
    before = list(farm.processes)
    yield farm
    for process in [each for each in farm.processes if each not in before]:
        process.stop()
        farm.processes.remove(process)
