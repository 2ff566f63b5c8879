"""The API in this process, on the test's own PostgreSQL and Redis, and people who call it."""

from __future__ import annotations

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


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """The test's own settings, with a content policy of two words."""
    rules = tmp_path / "moderation.txt"
    rules.write_text("forbidden fruit\n", encoding="utf-8")
    return settings.model_copy(update={"moderation_file": rules})


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The application; its connections are closed afterwards."""
    app = create_app(settings)
    yield app
    runtime_of(app).close()


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
