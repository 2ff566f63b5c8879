"""A trial farm: real processes on servers of its own, whose engine does what the prompt says.

``trial_farm(...)`` gives a :class:`TrialFarm` without processes; ``farm.keep("api")`` and so on
starts them and keeps them running; ``worker``, ``worker-2``, ``worker.flux`` … are all workers.
The role by which crash points are armed is the command, or ``worker.flux`` where that is the name.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from farm.config import Settings
from farm.db import upgrade
from farm.embedded import start_postgres, start_redis
from farm.servers import Server
from farm.services import Services, build_services
from tests import factories
from tests.faults.trial.catalogue import write_catalogue
from tests.faults.trial.engine import FOLDER, RUNS
from tests.faults.trial.inside import DISARMED, ROLE
from tests.faults.trial.keeper import Keeper
from tests.faults.trial.points import Armoury
from tests.faults.trial.proxy import Proxy
from tests.flows.whole_farm import WholeFarm
from tests.processes import Process, free_port, running, wait_until

LEASE_S = 2.0
"""Short, so that a test sees a dead worker's job run elsewhere within seconds."""
QUICK = {
    "FARM_LEASE_S": f"{LEASE_S:g}",
    "FARM_SWEEP_EVERY_S": "0.5",
    "FARM_RERING_AFTER_S": "2",
    "FARM_DRAIN_S": "1",
    "FARM_WEB_WORKERS": "1",
    "FARM_WEB_THREADS": "16",
    "FARM_VRAM_GB": "4",
    # The oracle is the proxy: it says from which customer's address a call comes.
    "FARM_TRUSTED_PROXIES": "1",
    "OMP_NUM_THREADS": "1",
}
"""Settings under which everything that waits waits for seconds."""
BOTH_QUEUES = ("sdxl", "flux-schnell")


@dataclass(frozen=True)
class Way:
    """How the farm's processes reach its servers: past proxies that a test may disturb."""

    postgres: Proxy
    redis: Proxy


@dataclass
class TrialFarm(WholeFarm):
    """See the module. ``services`` and ``who`` are the test's own, on undisturbed connections."""

    postgres: Server | None = None
    redis: Server | None = None
    way: Way | None = None
    keeper: Keeper = field(init=False)
    armoury: Armoury = field(init=False)

    def __post_init__(self) -> None:
        self.keeper = Keeper(self._start_kept)
        self.armoury = Armoury(self.folder)

    def start(self, name: str, *arguments: str, **env: str) -> Process:
        """Start ``farm <name> …`` inside the trial."""
        number = sum(1 for _ in self.folder.glob(f"{name}-*.log"))
        command = [sys.executable, "-m", "tests.faults.trial.launch", name, *arguments]
        log = self.folder / f"{name}-{number}.log"
        more = {**self.env, ROLE: name, **env}
        process = self.stack.enter_context(running(command, log, env=more))
        self.processes.append(process)
        return process

    def keep(self, *names: str) -> None:
        """Keep processes running: ``api``, ``control``, ``beat``, and ``worker`` with any ending;
        ``worker.<model>`` serves one model, others both. Returns once all of them are ready."""
        started = {name: self.keeper.keep(name) for name in names}
        for name, process in started.items():
            self.ready(name, process)

    def ready(self, name: str, process: Process | None = None, timeout_s: float = 60.0) -> None:
        """Wait until a kept process does its work."""
        if name == "api":
            wait_until(self.is_serving, timeout_s, self.logs)
        elif name != "beat":
            found = process or self.keeper.process(name)
            wait_until(lambda: " ready." in found.output(), timeout_s, found.output)

    def is_serving(self) -> bool:
        """Whether the API answers a customer."""
        with contextlib.suppress(OSError):
            self.balance()
            return True
        return False

    def runs(self) -> list[tuple[str, str, int, int]]:
        """What the engine did, in order: ``start`` or ``end``, job, attempt, pid."""
        path = self.folder / RUNS
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        return [(w[0], w[1], int(w[2]), int(w[3])) for w in map(str.split, lines)]

    def disarm(self, *guards: str) -> None:
        """Take guards out of every process that is started from now on."""
        self.env[DISARMED] = " ".join(guards)

    def _start_kept(self, name: str) -> Process:
        if name == "api":
            return self.start("api", "--port", str(self.api_port))
        if name.startswith("worker"):
            model = name.partition(".")[2]
            role = name if model else "worker"
            queues = model or ",".join(BOTH_QUEUES)
            return self.start("worker", "--queues", queues, **{ROLE: role})
        return self.start(name)


@contextlib.contextmanager
def trial_farm(
    folder: Path,
    *,
    database_url: str = "",
    broker_url: str = "",
    disturbed: bool = False,
    durable: bool = False,
    soft_s: int = 4,
    hard_s: int = 6,
    **env: str,
) -> Iterator[TrialFarm]:
    """A farm without processes; what is started in it is ended on exit.

    Args:
        folder: made here; its path must be short, and open to PostgreSQL's user (the fixture
            ``servers_folder`` is such a place).
        database_url: a migrated database to use instead of a server of its own.
        broker_url: a RabbitMQ; its own Redis then only counts rates and carries events.
        disturbed: put proxies before its own PostgreSQL and Redis.
        durable: let PostgreSQL keep what it committed when it is killed, at the price of speed.
        soft_s, hard_s: the time limits of its models.
        env: settings, on top of ``QUICK``.
    """
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        postgres = None
        if not database_url:
            postgres = stack.enter_context(start_postgres(folder / "pg", durable=durable))
            database_url = postgres.url
            upgrade(database_url)
        redis = stack.enter_context(start_redis(folder / "redis"))
        way = _way(stack, postgres, redis) if disturbed else None
        api_port = free_port()
        redis_url = f"redis://127.0.0.1:{way.redis.port}/0" if way else redis.url
        settings_env = {
            **QUICK,
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{way.postgres.port}/farm"
            if way
            else database_url,
            "BROKER_URL": broker_url or redis_url,
            "FARM_REDIS_URL": redis_url,
            "FARM_DATA": str(folder / "data"),
            "FARM_WEIGHTS": "tiny",
            "FARM_CATALOG": str(
                write_catalogue(folder / "catalogue.toml", soft_s=soft_s, hard_s=hard_s)
            ),
            "FARM_PUBLIC_URL": f"http://127.0.0.1:{api_port}",
            FOLDER: str(folder),
            **env,
        }
        services = build_services(_settings(settings_env, database_url, broker_url or redis.url))
        stack.callback(services.dispose)
        farm = TrialFarm(
            folder=folder,
            env=settings_env,
            services=services,
            who=customer(services),
            stack=stack,
            api_port=api_port,
            flower_port=free_port(),
            postgres=postgres,
            redis=redis,
            way=way,
        )
        try:
            # Nobody is started again who is being ended, and all end at the same time.
            with farm.keeper:
                yield farm
        finally:
            farm.end()


def customer(services: Services) -> factories.Customer:
    """A customer whom neither credits nor rate limits hold up."""
    return factories.customer(services, plan="scale")


def _way(stack: contextlib.ExitStack, postgres: Server | None, redis: Server) -> Way:
    assert postgres is not None, "only servers of the farm's own are disturbed"
    sockets = [
        next(server.folder.parent.rglob(name))
        for server, name in ((postgres, ".s.PGSQL.5432"), (redis, "redis.sock"))
    ]
    proxies = [stack.enter_context(Proxy(path)) for path in sockets]
    return Way(*proxies)


def _settings(env: dict[str, str], database_url: str, broker_url: str) -> Settings:
    """The same settings as the processes have, in the test's own process."""
    prefix = "FARM_"
    own = {
        name.removeprefix(prefix).lower(): value
        for name, value in env.items()
        if name.startswith(prefix)
    }
    return Settings(DATABASE_URL=database_url, BROKER_URL=broker_url, **own)  # type: ignore[arg-type]
