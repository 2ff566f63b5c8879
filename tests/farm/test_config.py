"""Settings: where each comes from, what is refused, and the secret that is made once."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm.config import Settings, load_settings, make_folder, running_services
from farm.errors import SetupError


def running_farm(folder: Path, **services: object) -> Path:
    """A data folder as a running ``farm up`` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "services.json").write_text(json.dumps(services), encoding="utf-8")
    return folder


@pytest.fixture
def below_a_file(tmp_path: Path) -> Path:
    """A path that cannot be made, not even by root."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "data"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("FARM_LEASE", "FARM_LEASE_S"),
        ("FARM_STORAGE", "FARM_STORAGE_URL"),
        ("FARM_SECRETKEY", "FARM_SECRET_KEY"),
        ("FARM_DATABASE_URL", "DATABASE_URL"),
        ("FARM_BROKER_URL", "BROKER_URL"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SetupError, match=rf"^{name} is not .* Did you mean {nearest}\?$"):
        load_settings()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_a_database_url_gets_its_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://u:p@h:5433/n?sslmode=require")
    settings = load_settings(tmp_path)
    assert settings.need_database() == "postgresql+psycopg2://u:p@h:5433/n?sslmode=require"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "mysql://u@h/n", "PostgreSQL URL"),
        ("DATABASE_URL", "sqlite:///farm.db", "PostgreSQL URL"),
        ("DATABASE_URL", "postgresql+asyncpg://h/n", "PostgreSQL URL"),
        ("BROKER_URL", "memory://", "amqp://"),
        ("BROKER_URL", "localhost:6379", "redis://"),
        ("FARM_LEASE_S", "0", "greater than 0"),
        ("FARM_LEASE_S", "soon", "number"),
        ("FARM_ATTEMPTS_MAX", "11", "10"),
        ("FARM_KEY_CACHE_S", "-1", "0"),
        ("FARM_WEB_THREADS", "0", "1"),
        ("FARM_VRAM_GB", "0", "greater than 0"),
        ("FARM_FETCH_TIMEOUT_S", "21", "20"),
        ("FARM_FETCH_ALLOW", "store.internal,http://10.0.0.1/", "'http://10.0.0.1/' is not a host"),
        ("FARM_FETCH_ALLOW", "10.0.0.1/8", "'10.0.0.1/8' is not a host"),
    ],
)
def test_a_wrong_value_is_refused_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as caught:
        load_settings(tmp_path)
    assert f"{name}: " in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://h:1/0", "rediss://h", "redis+socket:///s.sock", "amqp://h//", "amqps://h"]
)
def test_known_brokers_are_taken_as_they_are(tmp_path: Path, url: str) -> None:
    assert Settings(BROKER_URL=url, data=tmp_path).need_broker() == url


def test_an_empty_variable_is_one_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("FARM_LEASE_S", "")
    assert load_settings(tmp_path).lease_s == load_settings(tmp_path / "other").lease_s == 30
    running_farm(tmp_path, database_url="postgresql://h/running")
    assert load_settings(tmp_path).database_url.endswith("/running")


def test_a_running_farm_fills_what_the_environment_leaves_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = running_farm(
        tmp_path / "farm",
        database_url="postgresql://h/running",
        broker_url="redis+socket:///running.sock",
        public_url="http://127.0.0.1:8123",
        pids=[1, 2],
    )
    settings = load_settings(data)
    assert settings.database_url == "postgresql+psycopg2://h/running"
    assert settings.broker_url == settings.limits_url == "redis+socket:///running.sock"
    assert settings.public_url == "http://127.0.0.1:8123"
    assert settings.data == data

    monkeypatch.setenv("FARM_DATA", str(data))
    assert load_settings().database_url == "postgresql+psycopg2://h/running"


def test_the_environment_wins_over_a_running_farm_and_arguments_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = running_farm(
        tmp_path,
        database_url="postgresql://h/running",
        broker_url="redis://running",
        public_url="http://running",
    )
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/mine")
    monkeypatch.setenv("FARM_PUBLIC_URL", "https://mine")
    settings = load_settings(data)
    assert settings.database_url == "postgresql+psycopg2://h/mine"
    assert (settings.broker_url, settings.public_url) == ("redis://running", "https://mine")
    assert Settings(data=data, public_url="https://argument").public_url == "https://argument"


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[1]", b'"text"'])
def test_a_broken_services_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "services.json").write_bytes(content)
    with pytest.raises(SetupError, match="farm up") as caught:
        load_settings(tmp_path)
    assert str(tmp_path / "services.json") in str(caught.value)


def test_a_services_file_with_a_wrong_url_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="DATABASE_URL"):
        load_settings(running_farm(tmp_path, database_url=5))


def test_no_services_file_is_no_running_farm(tmp_path: Path, below_a_file: Path) -> None:
    assert running_services(tmp_path) == {}
    assert running_services(below_a_file) == {}


def test_a_missing_service_says_what_to_type(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    with pytest.raises(SetupError) as caught:
        settings.need_database()
    assert str(caught.value) == (
        f"No database: DATABASE_URL is not set and no `farm up` is running in {tmp_path}. "
        f"Start one with `farm up --data {tmp_path}`, or set DATABASE_URL."
    )
    with pytest.raises(SetupError, match="BROKER_URL"):
        settings.need_broker()


def test_what_is_left_empty_follows_from_the_rest(tmp_path: Path) -> None:
    plain = Settings(data=tmp_path, BROKER_URL="redis://r", public_url="https://farm/")
    assert plain.storage == f"file://{tmp_path}/storage"
    assert plain.limits_url == "redis://r"
    assert plain.pricing_url == "https://farm"
    told = Settings(
        data=tmp_path,
        BROKER_URL="amqp://a",
        storage_url="file:///elsewhere",
        dashboard_url="https://shop/",
    )
    assert (told.storage, told.limits_url) == ("file:///elsewhere", "")
    assert told.pricing_url == "https://shop"
    assert Settings(BROKER_URL="amqp://a", redis_url="redis://r").limits_url == "redis://r"


def test_folders_are_absolute_whatever_was_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(Path("here")).data == tmp_path / "here"
    monkeypatch.setenv("FARM_DATA", "~/there")
    assert load_settings().data == tmp_path / "there"
    monkeypatch.delenv("FARM_DATA")
    assert load_settings().data.is_relative_to(tmp_path)


def test_the_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    first = Settings(data=data).signing_key()
    assert Settings(data=data).signing_key() == first
    assert Settings(data=tmp_path / "other").signing_key() != first
    assert len(first) >= 43
    [path] = data.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_given_secret_is_used_and_nothing_is_written(tmp_path: Path) -> None:
    assert Settings(data=tmp_path, secret_key="mine").signing_key() == "mine"
    assert list(tmp_path.iterdir()) == []


def test_threads_that_start_at_once_sign_with_the_same_secret(tmp_path: Path) -> None:
    for number in range(20):
        settings = Settings(data=tmp_path / str(number))
        start = threading.Barrier(8)

        def key(_: int, settings: Settings = settings, start: threading.Barrier = start) -> str:
            start.wait(timeout=60)
            return settings.signing_key()

        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(key, range(8)))
        assert keys == {settings.signing_key()}
        assert [path.name for path in settings.data.iterdir()] == ["secret.key"]


def test_processes_that_start_at_once_sign_with_the_same_secret(tmp_path: Path) -> None:
    code = (
        "import sys; from farm.config import load_settings, Path; "
        "print(load_settings(Path(sys.argv[1])).signing_key())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    keys = {process.communicate(timeout=60)[0] for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("nsfw=0.8", {"nsfw": 0.8}),
        ("nsfw=0.8,gore=1", {"nsfw": 0.8, "gore": 1.0}),
        (" not for work = .5 , a=b = 0.25 ", {"not for work": 0.5, "a=b": 0.25}),
    ],
)
def test_refused_labels_are_read(text: str, refused: dict[str, float]) -> None:
    assert Settings(result_moderation_refuse=text).refused_labels == refused


@pytest.mark.parametrize(
    "text",
    [
        "nsfw", "=0.8", "nsfw=", "nsfw=0", "nsfw=-1", "nsfw=1.01", "nsfw=80%", "nsfw=nan",
        "nsfw=inf", "nsfw=0.8,", "nsfw=0.8,nsfw=0.9", "nsfw 0.8", ",", " ",
    ],
)  # fmt: skip
def test_refused_labels_that_make_no_sense_are_named(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("FARM_RESULT_MODERATION_REFUSE", text)
    with pytest.raises(SetupError, match=r"FARM_RESULT_MODERATION_REFUSE: .*as nsfw=0\.8"):
        load_settings()


@pytest.mark.parametrize("content", [b"", b"\n", b"caf\xe9"])
def test_a_secret_that_is_none_is_refused_rather_than_signed_with(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "secret.key").write_bytes(content)
    with pytest.raises(SetupError) as caught:
        Settings(data=tmp_path).signing_key()
    assert str(tmp_path / "secret.key") in str(caught.value)


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert make_folder(path) == path
    assert make_folder(path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_says_what_to_type(below_a_file: Path) -> None:
    for attempt in (lambda: make_folder(below_a_file), Settings(data=below_a_file).signing_key):
        with pytest.raises(SetupError, match="--data DIR or FARM_DATA") as caught:
            attempt()
        assert str(below_a_file) in str(caught.value)
