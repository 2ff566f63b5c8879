"""The API in this process, on the test's own PostgreSQL and Redis, and people who call it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from api.app import create_app, runtime_of
from api.runtime import Runtime
from farm.catalog import BUILT_IN
from farm.config import Settings
from tests import factories
from tests.api.caller import Caller
from tests.contracts.storefront import Shop, open_shop
from tests.services import Databases, flush


@pytest.fixture(scope="module")
def shop(
    databases: Databases, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """The API of one test file, for many customers of all storefronts."""
    flush(redis_server)
    with (
        databases.fresh() as url,
        open_shop(url, redis_server, tmp_path_factory.mktemp("shop")) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def file_settings(
    databases: Databases, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """What the tests of one file share: a database, which each finds empty, and a content policy
    of two words."""
    folder = tmp_path_factory.mktemp("api")
    rules = folder / "moderation.txt"
    rules.write_text("forbidden fruit\n", encoding="utf-8")
    with databases.fresh() as url:
        yield Settings(
            DATABASE_URL=url,
            BROKER_URL=redis_server,
            data=folder / "data",
            weights="tiny",
            moderation_file=rules,
        )


@pytest.fixture(scope="module")
def file_app(file_settings: Settings) -> Iterator[Flask]:
    """The application of one file's tests: to make one takes longer than most of them."""
    app = create_app(file_settings)
    yield app
    runtime_of(app).close()


@pytest.fixture
def postgres_url(databases: Databases, file_settings: Settings) -> str:
    """The URL of the file's database, without rows."""
    databases.clear(file_settings.database_url)
    return file_settings.database_url


@pytest.fixture
def settings(file_settings: Settings, postgres_url: str, redis_url: str) -> Settings:
    """Settings of a farm in which nothing happened yet, with a content policy of two words."""
    shutil.rmtree(file_settings.data / "storage", ignore_errors=True)
    return file_settings


@pytest.fixture
def own_app(settings: Settings) -> Iterator[Flask]:
    """An application that has seen no other test; its connections are closed afterwards."""
    app = create_app(settings)
    yield app
    runtime_of(app).close()


@pytest.fixture
def app(request: pytest.FixtureRequest, settings: Settings, file_settings: Settings) -> Flask:
    """The application: the file's, which remembers nothing of customers that came later.

    A test that stops or counts what the application did, or that looks at what it knows of the
    whole farm (limits of an address, places, seconds), asks with ``usefixtures`` for its own.
    One with settings of its own has its own anyway.
    """
    own = "own_app" in request.fixturenames or settings is not file_settings
    found = request.getfixturevalue("own_app" if own else "file_app")
    assert isinstance(found, Flask)
    return found


@pytest.fixture
def runtime(app: Flask) -> Runtime:
    """The application's collaborators."""
    return runtime_of(app)


@pytest.fixture
def caller(app: Flask, runtime: Runtime) -> Caller:
    """A customer on the largest plan, with a key."""
    return Caller(app, runtime.services, factories.customer(runtime.services, plan="scale"))


@pytest.fixture
def free_caller(app: Flask, runtime: Runtime) -> Caller:
    """A customer on the free plan: 10 credits, 5 submits a minute."""
    return Caller(app, runtime.services, factories.customer(runtime.services))


@pytest.fixture
def unlimited(settings: Settings, tmp_path: Path) -> Settings:
    """The same settings with rate limits that no test reaches."""
    text = BUILT_IN.read_text(encoding="utf-8")
    text = text.replace("submits_per_minute = 200", "submits_per_minute = 1000000")
    path = tmp_path / "catalog.toml"
    path.write_text(text, encoding="utf-8")
    return settings.model_copy(update={"catalog": path})
