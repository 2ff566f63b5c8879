"""The ``farm`` command, run in this process against the test's own services."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from farm.cli.root import run
from farm.config import Settings


@dataclass(frozen=True)
class Ran:
    """What one command line did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output, read as the JSON it should be."""
        return json.loads(self.out)


Farm = Callable[..., Ran]


@pytest.fixture
def bare_farm(capfd: pytest.CaptureFixture[str]) -> Farm:
    """The command with nothing set: no services, no data folder."""

    def command(*words: str) -> Ran:
        capfd.readouterr()
        code = run(words)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return command


@pytest.fixture
def farm(bare_farm: Farm, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """The command on the test's database, broker and data folder."""
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("BROKER_URL", settings.broker_url)
    monkeypatch.setenv("FARM_DATA", str(settings.data))
    monkeypatch.setenv("FARM_WEIGHTS", "tiny")
    return bare_farm
