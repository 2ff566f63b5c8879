"""What the runbook names is there: commands, settings, metrics, error codes, lines of the logs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from flask import Flask

from api.app import create_app, runtime_of
from api.errors import STATUS
from farm import canaries, vitals
from farm.cli.root import root
from farm.config import Settings
from tests.farm.checks import run

ROOT = Path(__file__).parent.parent
RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text("utf-8")
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", RUNBOOK)))
COMMANDS = [words for words in QUOTED if words.startswith("farm ")]
NAMES = [words for words in QUOTED if re.fullmatch(r"[a-z]+(_[a-z]+)+", words)]
SETTINGS = [words for words in QUOTED if words.startswith("FARM_")]
LINES = [words for words in QUOTED if words not in COMMANDS and " " in words and "=" not in words]
OTHERS = {"soft_limit_s", "hard_limit_s", "jobs_max", "queue_max", "max_connections"}
"""Fields of the catalogue, and a setting of PostgreSQL's."""
NOT_OURS = ("curl ", "redis-cli ", "Timeout (")
"""Commands of others, and how Python begins to tell where its threads are."""


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_there(line: str) -> None:
    _, *words = shlex.split(line)
    command: click.Command = root
    context = click.Context(command)
    while words and isinstance(command, click.Group):
        word = words.pop(0)
        found = command.get_command(context, word)
        assert found is not None, f"there is no {word} in {line}"
        command = found
    known = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_setting_is_there() -> None:
    assert {name.removeprefix("FARM_").lower() for name in SETTINGS} <= set(Settings.model_fields)


@pytest.fixture
def app(settings: Settings) -> Flask:
    return create_app(settings)


def test_every_metric_and_error_code_is_there(app: Flask) -> None:
    services = runtime_of(app).services
    with canaries.due(services.db, ("gpu.sdxl",), ()):
        pass
    run(services, "INSERT INTO audits (seconds, broken) VALUES (1, '[]')")
    scraped = set(re.findall(r"^# TYPE (\w+)", app.test_client().get("/metrics").text, re.M))
    runtime_of(app).close()
    unknown = set(NAMES) - scraped - set(STATUS) - set(vitals.BREAKING) - OTHERS
    assert unknown == set()
    assert {name for name in NAMES if name.startswith("farm_")} <= scraped
    assert "farm_queue_ready" in NAMES
    assert "queue_full" in NAMES


def test_every_quoted_line_is_said_somewhere() -> None:
    said = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text("utf-8"))
        for folder in ("api", "farm", "tasks")
        for path in (ROOT / folder).rglob("*.py")
    )
    for line in LINES:
        if line.startswith(NOT_OURS):
            continue
        # A number stands where the code has a placeholder.
        pattern = re.sub(r"(?<!\w)\d+(?!\w)", r"(%[ds]|\\{[^}]+\\})", re.escape(line))
        assert re.search(pattern, said), line
