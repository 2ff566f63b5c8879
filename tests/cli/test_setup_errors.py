"""What is wrong with a setup is one sentence on stderr, exit code 1, and no traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.services import Services
from tests.cli.conftest import Farm, Ran
from tests.services import Databases


def says(ran: Ran, *parts: str) -> None:
    assert ran.code == 1
    assert ran.err.startswith("farm: ")
    assert ran.err.count("\n") == 1
    for part in parts:
        assert part in ran.err


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_nothing_set_and_nothing_running(bare_farm: Farm, tmp_path: Path) -> None:
    ran = bare_farm("accounts", "show", "a@b.cc", "--data", str(tmp_path))
    says(ran, "DATABASE_URL is not set", f"farm up --data {tmp_path}")


def test_a_data_folder_below_a_file(bare_farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = bare_farm("up", "--data", str(tmp_path / "file" / "data"))
    says(ran, "cannot be made: Not a directory", "--data DIR or FARM_DATA")


def test_an_occupied_port(bare_farm: Farm, tmp_path: Path, taken_port: int) -> None:
    ran = bare_farm("up", "--port", str(taken_port), "--data", str(tmp_path))
    says(ran, f"127.0.0.1:{taken_port} cannot be used (address already in use)", "--port")
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_machine(bare_farm: Farm, tmp_path: Path) -> None:
    ran = bare_farm("up", "--host", "192.0.2.1", "--data", str(tmp_path))
    says(ran, "192.0.2.1:8000 cannot be used")


def test_an_unknown_setting_with_the_nearest_known_one(
    bare_farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FARM_WEIGTHS", "tiny")
    ran = bare_farm("up", "--data", str(tmp_path))
    says(ran, "FARM_WEIGTHS is not a setting of the farm. Did you mean FARM_WEIGHTS?")


@pytest.mark.parametrize(
    ("name", "value"), [("FARM_STOREFRONTS", "pixell"), ("FARM_HOSTS", "a.example.com=pixell")]
)
def test_a_storefront_that_there_is_not(
    bare_farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ran = bare_farm("up", "--data", str(tmp_path))
    says(ran, f"{name} names 'pixell'", "pixelapi, pixapi, pixola, pixza")


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("DATABASE_URL", "mysql://root@localhost/farm", "DATABASE_URL"),
        ("BROKER_URL", "sqs://", "BROKER_URL"),
        ("FARM_LEASE_S", "soon", "FARM_LEASE_S"),
        ("FARM_WEB_THREADS", "0", "FARM_WEB_THREADS"),
        ("FARM_HOSTS", "img.example.com", "img.example.com=pixola"),
    ],
)
def test_a_setting_with_a_wrong_value(
    bare_farm: Farm,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    value: str,
    part: str,
) -> None:
    monkeypatch.setenv(name, value)
    says(bare_farm("db", "upgrade", "--data", str(tmp_path)), "A setting is wrong", part)


def test_a_storage_of_an_unknown_kind(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_STORAGE_URL", "ftp://example.com/outputs")
    says(farm("ledger", "audit"), "FARM_STORAGE_URL")


def test_a_catalogue_that_is_not_there(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FARM_CATALOG", str(tmp_path / "none.toml"))
    says(farm("models", "list"), "none.toml cannot be read")


def test_a_database_that_is_away(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://postgres@/farm?host={tmp_path}")
    says(farm("accounts", "show", "a@b.cc"), "The database does not answer")
    says(farm("db", "upgrade"), "The database does not answer")


def test_a_broker_that_is_away(farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BROKER_URL", f"redis+socket://{tmp_path}/nobody.sock")
    says(farm("queues"), "The message broker does not answer")


@pytest.mark.parametrize("name", ["worker", "control", "beat"])
def test_a_process_without_a_broker(farm: Farm, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("BROKER_URL")
    says(farm(name), "BROKER_URL is not set")


def test_flower_without_a_password(farm: Farm) -> None:
    says(farm("flower"), "FARM_FLOWER_AUTH", "user:password")


def test_a_database_without_a_schema_gets_one(
    farm: Farm, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    with databases.empty() as url:
        monkeypatch.setenv("DATABASE_URL", url)
        assert "run `farm db upgrade`" in farm("doctor").out
        says(farm("accounts", "create", "a@b.cc"), "Run `farm db upgrade`")
        assert farm("db", "upgrade").code == 0
        assert farm("db", "upgrade").code == 0
        assert farm("accounts", "create", "a@b.cc").code == 0


def test_every_listing_command_takes_json(farm: Farm, services: Services) -> None:
    farm("accounts", "create", "a@b.cc")
    for words in (
        ("keys", "list", "a@b.cc"),
        ("jobs", "list"),
        ("queues",),
        ("nodes",),
        ("models", "list"),
        ("ledger", "audit"),
    ):
        assert isinstance(farm(*words, "--json").json(), list), words


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    command = f"{sys.executable} -m farm.cli models list --json | true"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
