"""What figures are measured on: durable PostgreSQL, Redis, gunicorns, workers, customers."""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import text

from farm.catalog import BUILT_IN
from farm.config import Settings
from farm.db import Database
from farm.embedded import start_postgres, start_redis
from farm.services import Services, build_services
from tests import factories
from tests.bench.load import ROOT
from tests.processes import Process, free_port, running, wait_until
from tests.services import Databases, flush, redis_client

PLENTY = 10_000_000
_START_S = 60.0
_POOL = ("--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle")


@dataclass(frozen=True, slots=True)
class Farm:
    """One farm: its settings, its collaborators, and the environment its processes get."""

    settings: Settings
    services: Services
    environment: Mapping[str, str]

    def customers(self, number: int, storefront: str = "pixelapi") -> list[factories.Customer]:
        """New accounts on the largest plan with more credits than a bench can spend."""
        *_, plan = self.services.catalog.storefronts[storefront].plans
        return [
            factories.customer(
                self.services, storefront=storefront, plan=plan, extra_credits=PLENTY
            )
            for _ in range(number)
        ]


class Stage:
    """The servers of one run of the bench; hands out farms and processes on them."""

    def __init__(self, folder: Path, databases: Databases, log: Path, redis_url: str) -> None:
        self.folder = folder
        self.postgres_log = log
        self.redis_url = redis_url
        self._databases = databases
        self._numbers = itertools.count(1)

    def server_versions(self) -> tuple[str, str]:
        """Of PostgreSQL and of Redis."""
        client = redis_client(self.redis_url)
        redis = str(client.info("server")["redis_version"])
        client.close()
        with self._databases.empty() as url:
            database = Database(url)
            with database.statement() as connection:
                postgres = str(connection.execute(text("SHOW server_version")).scalar_one())
            database.dispose()
        return postgres, redis

    @contextlib.contextmanager
    def farm(self, *, catalog: str = "", **settings: object) -> Iterator[Farm]:
        """A farm with a fresh database. All of them share the Redis, which is emptied now.

        ``catalog`` is TOML, by default the built-in one; limits are always set too high to
        bite. ``settings`` are further fields of Settings.
        """
        flush(self.redis_url)
        folder = self.folder / f"farm{next(self._numbers)}"
        folder.mkdir()
        path = folder / "catalog.toml"
        path.write_text(unlimited(catalog or BUILT_IN.read_text("utf-8")), "utf-8")
        environment = {f"FARM_{name.upper()}": str(value) for name, value in settings.items()}
        environment |= {"FARM_DATA": str(folder), "FARM_CATALOG": str(path), "FARM_WEIGHTS": "tiny"}
        with self._databases.fresh() as url:
            environment |= {"DATABASE_URL": url, "BROKER_URL": self.redis_url}
            found = Settings(
                DATABASE_URL=url,
                BROKER_URL=self.redis_url,
                data=folder,
                catalog=path,
                weights="tiny",
                **settings,  # type: ignore[arg-type]
            )
            services = build_services(found)
            with contextlib.closing(_Closing(services)):
                yield Farm(found, services, environment)

    @contextlib.contextmanager
    def api(self, farm: Farm) -> Iterator[tuple[int, list[str]]]:
        """The farm's own API, started by its own command: its port and gunicorn's arguments."""
        port = free_port()
        command = [sys.executable, "-m", "farm.cli", "api", "--port", str(port)]
        with self._process(command, farm.environment) as process:
            _wait_for_http(process, port, "/healthz")
            yield port, psutil.Process(process.pid).cmdline()

    @contextlib.contextmanager
    def peer_api(self, farm: Farm, arguments: Sequence[str]) -> Iterator[int]:
        """The bare Flask routes, under a gunicorn with the arguments of the farm's."""
        port = free_port()
        command = [re.sub(r"--bind=.*", f"--bind=127.0.0.1:{port}", word) for word in arguments]
        assert command[-1] == "api.wsgi:create()", f"not gunicorn's arguments: {command}"
        command[-1] = "tests.bench.peers:create()"
        with self._process(command, farm.environment) as process:
            _wait_for_http(process, port, "/empty")
            yield port

    @contextlib.contextmanager
    def worker(
        self, farm: Farm, app: str, queues: Sequence[str], **environment: str
    ) -> Iterator[Process]:
        """A Celery worker with one prefork child on these queues."""
        command = [sys.executable, "-m", "celery", "-A", app, "worker", *_POOL, "--loglevel=INFO"]
        command += [f"--queues={','.join(queues)}", f"--hostname=bench{next(self._numbers)}@%h"]
        with self._process(command, {**farm.environment, **environment}) as process:
            wait_until(lambda: " ready." in process.output(), _START_S, process.output)
            yield process

    @contextlib.contextmanager
    def _process(self, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Process]:
        log = self.folder / f"process{next(self._numbers)}.log"
        with running(command, log, env=environment, cwd=ROOT) as process:
            yield process


class _Closing:
    def __init__(self, services: Services) -> None:
        self.close = services.dispose


@contextlib.contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Start the servers, with everything as durable as ``farm up`` has it."""
    with (
        start_postgres(folder / "postgres") as postgres,
        start_redis(folder / "redis") as redis,
    ):
        databases = Databases(postgres.url)
        with contextlib.closing(databases):
            yield Stage(folder, databases, postgres.log, redis.url)


def web_processes(port: int) -> list[psutil.Process]:
    """The gunicorn workers behind a port of this machine."""
    bind = f"--bind=127.0.0.1:{port}"
    master = next(
        found
        for found in psutil.process_iter(["cmdline"])
        if bind in (found.info["cmdline"] or [])
        and (parent := found.parent()) is not None
        and bind not in parent.cmdline()
    )
    return wait_until(master.children, _START_S, "gunicorn has no worker")


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that the processes have spent, their own and the system's for them."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def unlimited(catalog: str) -> str:
    """A catalogue with the limiter and the caps on, as always, but too far up to be met."""
    catalog = re.sub(r"(\w+_per_(?:minute|day) = )\d+", rf"\g<1>{PLENTY}", catalog)
    catalog = re.sub(r"(?m)^(?:jobs|queue)_max = .*\n", "", catalog)
    catalog = re.sub(r"(?m)^submits_per_minute = .*$", rf"\g<0>\njobs_max = {PLENTY}", catalog)
    return re.sub(r"(?m)^hard_limit_s = .*$", rf"\g<0>\nqueue_max = {PLENTY}", catalog)


def _wait_for_http(process: Process, port: int, path: str) -> None:
    def answers() -> bool:
        assert process.exit_code() is None, f"the server ended:\n{process.output()[-2000:]}"
        url = f"http://127.0.0.1:{port}{path}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
        return False

    wait_until(answers, _START_S, process.output)
