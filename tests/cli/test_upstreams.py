"""What an operator hears of upstreams: who runs what, whose key is missing, what to start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farm.cli.up import _programs
from farm.config import Settings
from tests.cli.conftest import Farm

KEY = "sk-a-key-of-the-farm-0123456789"
TABLE = {
    name: {"base_url": "https://api.example.com/v1", "key_env": key_env, "model": "m", "name": "Ex"}
    for name, key_env in (("gpt-image-2", "ONE_KEY"), ("veo", "OTHER_KEY"))
}


@pytest.fixture
def farm(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """The command with two upstreams, of which one has its key."""
    monkeypatch.setenv("FARM_UPSTREAMS", json.dumps(TABLE))
    monkeypatch.setenv("ONE_KEY", KEY)
    monkeypatch.delenv("OTHER_KEY", raising=False)
    return farm


def test_the_doctor_says_whose_key_is_missing_and_no_key(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Where there are no weights it need not look at any.
    monkeypatch.setenv("FARM_WEIGHTS", str(tmp_path))
    ran = farm("doctor")
    assert "ok    upstream gpt-image-2: Ex runs it as m; ONE_KEY is set here." in ran.out
    assert "FAIL  upstream veo: No key for the upstream Ex: set OTHER_KEY" in ran.out
    assert ran.out.count("FAIL  queue upstream: no worker serves it") == 1
    assert "start `farm worker --queues upstream`" in ran.out
    assert KEY not in ran.out + ran.err


def test_the_list_says_who_runs_a_model(farm: Farm) -> None:
    rows = {row["id"]: row for row in farm("models", "list", "--json").json()}
    assert rows["gpt-image-2"]["served_by"] == "gpt-image-2 by Ex"
    assert rows["gpt-image-1.5"]["served_by"] == "flux-schnell-tiny, flux-kontext-tiny"
    assert rows["sdxl"]["served_by"] == "sdxl-tiny"


def test_a_worker_without_a_key_does_not_start(farm: Farm) -> None:
    ran = farm("worker", "--queues", "upstream")
    assert (ran.code, ran.out) == (1, "")
    assert "set OTHER_KEY in the environment" in ran.err


def test_a_worker_without_upstreams_does_not_start(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FARM_UPSTREAMS")
    assert "needs FARM_UPSTREAMS" in farm("worker", "--queues", "gpt-image-2").err


@pytest.mark.parametrize("queues", ["sdxl", "sdxl,upstream"])
def test_a_device_does_one_job_at_a_time(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, queues: str
) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    ran = farm("worker", "--queues", queues, "--concurrency", "2")
    assert ran.code == 2
    assert "one after the other" in ran.err


def test_farm_up_refuses_a_wrong_table_before_it_starts_anything(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("FARM_UPSTREAMS", "{")
    assert "FARM_UPSTREAMS is not valid JSON" in farm("up").err
    assert not (settings.data / "logs").exists()


@pytest.mark.parametrize("upstreams", ["", "/etc/farm/upstreams.toml"])
def test_farm_up_runs_a_worker_for_them_where_there_are_any(tmp_path: Path, upstreams: str) -> None:
    settings = Settings(data=tmp_path, upstreams=upstreams)
    programs = {each.name: each for each in _programs(settings, "127.0.0.1", 8000, 0, 0)}
    assert ("worker-upstream" in programs) is bool(upstreams)
    if upstreams:
        assert "--queues upstream" in " ".join(programs["worker-upstream"].command)
