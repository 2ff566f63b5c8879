"""A service over real HTTP, and the engine that calls it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from farm.config import Settings
from farm.upstreams import Upstream
from models.base import UpstreamSetup
from models.engines.upstream import UpstreamEngine
from tasks.breakers import Breakers
from tasks.upstreams import upstream_setup
from tests.models.upstream.jobs import CARD, KEY, engine_of
from tests.models.upstream.service import OpenaiServer, openai_server


@pytest.fixture(scope="module")
def serving() -> Iterator[OpenaiServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def server(serving: OpenaiServer) -> OpenaiServer:
    """The service, which makes a picture of 64x48 unless a test tells it otherwise."""
    serving.reset()
    return serving


@pytest.fixture
def setup(server: OpenaiServer, monkeypatch: pytest.MonkeyPatch) -> UpstreamSetup:
    """What a worker hands to the engine, with shorter waits and its breaker's clock 100 times
    as fast."""
    monkeypatch.setenv("UPSTREAM_KEY", KEY)
    settings = Settings(DATABASE_URL="postgresql://x/y", BROKER_URL="redis://x")
    upstream = Upstream(
        base_url=server.base_url, key_env="UPSTREAM_KEY", model="their-model", name="Elsewhere"
    )
    gate = Breakers([server.base_url], lambda: 100 * time.monotonic()).of(server.base_url)
    made = upstream_setup(upstream, CARD, settings, gate)
    return replace(made, backoff_s=0.01, timeout_s=5.0, run_s=20.0)


@pytest.fixture
def engine(setup: UpstreamSetup) -> UpstreamEngine:
    """The engine, loaded."""
    return engine_of(setup)
