"""Fixtures every test may ask for. What they are made of is in services.py and processes.py."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from farm.catalog import Catalog, built_in_catalog
from farm.config import Settings
from farm.db import Database
from farm.embedded import start_redis
from farm.services import Services, build_services
from tests.services import Databases, database_server, flush

_TESTS = Path(__file__).parent
_LONGEST = ("faults", "test_readme.py", "flows", "clients", "cli", "tasks")
"""What holds few tests that take long. First, so that at the end no process waits for another."""


def pytest_configure(config: pytest.Config) -> None:
    """Side by side, each test process computes on one core: the thread pools of several would
    wait for each other, and took ten times as long.

    A farm is started hundreds of times here: no process of it compiles anew what an earlier one
    has compiled, whatever the environment says.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if hasattr(config, "workerinput"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep Python from looking for garbage among what is imported and collected.

    That is most of what there is, stays to the end, and takes over half a second to look
    through: each time that an engine is unloaded, for one.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to one process the tests that share what takes long to make: those of an xdist_group,
    with its farms, and those of a file, with its engines and their pictures, or its API.

    xdist learns a test's group from what follows the @ in its name, which version 3.8 writes
    where pytest 9.2 does not read it any more (pytest-dev/pytest-xdist#1386). So it is written
    here.
    """
    if not config.getoption("loadgroup", False):
        return
    order = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(_TESTS).parts[0], len(order)))
    for item in items:
        path = item.path.relative_to(_TESTS)
        marked = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
        if not marked and path.parts[0] in ("api", "models"):
            marked = {path.as_posix()}
        if marked and "@" not in item.nodeid.rpartition("]")[2]:
            name = f"{item.nodeid}@{'_'.join(sorted(marked))}"
            object.__setattr__(item.id, "_str_cache", name)


@dataclass(frozen=True)
class Given:
    """The services that whoever runs the tests brought along; empty means embedded ones."""

    database_url: str
    broker_url: str


@pytest.fixture(scope="session", autouse=True)
def given() -> Iterator[Given]:
    """Hide the operator's settings from the code under test, which must see only the test's."""
    found = Given(os.environ.get("DATABASE_URL", ""), os.environ.get("BROKER_URL", ""))
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("FARM_") or name in ("DATABASE_URL", "BROKER_URL"):
                patch.delenv(name)
        yield found


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder for this process's servers, which may run as another user.

    Not pytest's own: every pytest that starts closes that one to other users again.
    """
    with tempfile.TemporaryDirectory(prefix="farm-tests-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def databases(given: Given, servers_folder: Path) -> Iterator[Databases]:
    """A PostgreSQL of this pytest process: ``with databases.fresh() as url``."""
    with database_server(servers_folder / "postgres", given.database_url) as found:
        yield found


@pytest.fixture(scope="session")
def redis_server(given: Given, worker_id: str, servers_folder: Path) -> Iterator[str]:
    """The URL of a Redis, or of a numbered part of it, that only this pytest process uses."""
    if given.broker_url.startswith("redis"):
        number = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
        base = given.broker_url.partition("?")[0]
        if base.startswith("redis+socket"):
            yield f"{base}?virtual_host={number}"
        else:
            scheme, _, rest = base.partition("://")
            yield f"{scheme}://{rest.partition('/')[0]}/{number}"
        return
    with start_redis(servers_folder / "redis") as server:
        yield server.url


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """The URL of a fresh database with the current schema."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of an empty Redis."""
    flush(redis_server)
    return redis_server


@pytest.fixture
def catalog() -> Catalog:
    """The catalogue that ships with the farm."""
    return built_in_catalog()


@pytest.fixture
def settings(postgres_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a farm of this test's own: fresh database, empty Redis, tiny weights."""
    return Settings(
        DATABASE_URL=postgres_url, BROKER_URL=redis_url, data=tmp_path / "data", weights="tiny"
    )


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """One process's collaborators, built from ``settings``."""
    found = build_services(settings)
    yield found
    found.dispose()


@pytest.fixture
def database(services: Services) -> Database:
    """The database of ``services``."""
    return services.db
