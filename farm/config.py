"""Settings: the only place in the tree that reads the environment.

Everything is ``FARM_<NAME>`` except the two that every platform already sets,
``DATABASE_URL`` and ``BROKER_URL``. What the environment leaves out is taken from the
services that a running ``farm up`` wrote into its data folder.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from farm.errors import SetupError
from farm.fronts import parse_hosts, parse_storefronts
from farm.intake.addresses import parse_trusts

SERVICES_FILE = "services.json"
SECRET_FILE = "secret.key"
_BARE_NAMES = {"database_url": "DATABASE_URL", "broker_url": "BROKER_URL"}

Seconds = Annotated[float, Field(gt=0)]


def default_data() -> Path:
    """Where the farm keeps its files when nobody says otherwise."""
    return Path.home() / ".local" / "share" / "farm"


class Settings(BaseSettings):
    """Every setting of the farm, one line each, with its unit in its name."""

    model_config = SettingsConfigDict(
        env_prefix="FARM_", extra="forbid", frozen=True, env_ignore_empty=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then a running farm; no other files."""
        return init_settings, env_settings, _RunningFarm(settings_cls)

    # Where things are.
    database_url: Annotated[str, Field(validation_alias="DATABASE_URL")] = ""
    broker_url: Annotated[str, Field(validation_alias="BROKER_URL")] = ""
    redis_url: str = ""
    """Rate limits and progress. Left empty it is the broker, where that is a Redis."""
    data: Path = Field(default_factory=default_data)
    storage_url: str = ""
    """``file:///folder``; left empty it is ``<data>/storage``."""
    public_url: str = "http://127.0.0.1:8000"
    dashboard_url: str = ""
    """Where customers buy credits; left empty it is ``public_url``."""
    secret_key: str = ""
    """Signs output URLs. Left empty a random one is kept in ``<data>/secret.key``."""

    # Models.
    weights: str = "hub"
    """``hub``, ``tiny``, or a folder with one folder per model id."""
    catalog: Path | None = None
    vram_gb: Annotated[float, Field(gt=0)] | None = None
    """Device memory a worker may fill; left empty it is what the device reports."""

    commercial_only: bool = False
    """Run no weights whose licence forbids commercial use; others stand in, or none."""
    upstreams: str = ""
    """Services that run models for the farm: a TOML file, or JSON; see farm/upstreams.py."""

    # Jobs.
    lease_s: Seconds = 30.0
    """How long a silent worker keeps its job; it renews every third of this."""
    attempts_max: Annotated[int, Field(ge=1, le=10)] = 3
    start_within_s: Seconds = 3600.0
    """A job still queued after this expires, and its hold goes back."""
    sweep_every_s: Seconds = 5.0
    rering_after_s: Seconds = 30.0
    switch_after_s: Seconds = 60.0
    """A worker leaves its resident model for another queue once a job there waited this."""
    drain_s: Seconds = 20.0
    """On SIGTERM a worker finishes its job within this, or hands it back to the queue."""
    deaf_after_s: Seconds = 60.0
    """An idle worker that takes nothing for so long, while the broker holds messages for it,
    ends itself; its supervisor starts another."""
    output_ttl_s: Seconds = 86_400.0
    moderation_file: Path | None = None
    result_moderation: str = ""
    """What looks at results: nothing where left empty, ``hub``, or a classifier's folder."""
    result_moderation_refuse: str = "nsfw=0.8"
    """The labels that are refused, each from which probability on: ``nsfw=0.8,gore=0.5``."""

    # Fetching pictures from customers' URLs.
    fetch_allow: str = ""
    """Whom to fetch from although private: ``host``, ``host:port``, address, CIDR; commas."""
    fetch_timeout_s: Annotated[float, Field(gt=0, le=20)] = 10.0
    """Over everything one fetch does, looking names up and redirects included."""

    # The API.
    storefronts: str = ""
    """Which storefronts are served: ids with commas between; left empty: all of them."""
    hosts: str = ""
    """Host names that are one storefront's own: ``img.example.com=pixola,…``."""
    sync_wait_s: Annotated[float, Field(gt=0, le=600)] = 120.0
    """How long pixapi's synchronous calls are held before they end in 504."""
    pixza_wait_s: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long pixza's first answer waits for a picture."""
    refuse_default_user_agents: bool = False
    key_cache_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    """How long a revoked key may still read; a submit re-checks it in the database."""
    body_bytes_max: Annotated[int, Field(ge=1024)] = 12 * 1024 * 1024
    web_threads: Annotated[int, Field(ge=1, le=512)] = 32
    web_workers: Annotated[int, Field(ge=1, le=64)] = 2
    trusted_proxies: Annotated[int, Field(ge=0, le=8)] = 0

    # PostgreSQL.
    db_pool_size: Annotated[int, Field(ge=1, le=256)] = 16
    db_timeout_s: Seconds = 5.0
    """Longest wait for a connection, a lock or a statement; the API's requests wait 2 s at most."""

    # Operators.
    flower_auth: str = ""
    """``user:password`` for Flower; it refuses to start without one."""
    log_level: str = "INFO"

    @field_validator("data", "catalog", "moderation_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @field_validator("database_url")
    @classmethod
    def _psycopg2(cls, url: str) -> str:
        """SQLAlchemy takes a bare ``postgresql://`` for another driver; platforms write it bare."""
        for bare in ("postgres://", "postgresql://"):
            if url.startswith(bare):
                return "postgresql+psycopg2://" + url.removeprefix(bare)
        if url and not url.startswith("postgresql+psycopg2://"):
            raise ValueError("must be a PostgreSQL URL, such as postgresql://user:pass@host/name")
        return url

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, url: str) -> str:
        known = ("redis://", "rediss://", "redis+socket://", "amqp://", "amqps://")
        if url and not url.startswith(known):
            raise ValueError(f"must start with one of {', '.join(known)}")
        return url

    @field_validator("fetch_allow")
    @classmethod
    def _readable_trusts(cls, text: str) -> str:
        parse_trusts(text)
        return text

    @field_validator("storefronts")
    @classmethod
    def _readable_storefronts(cls, text: str) -> str:
        parse_storefronts(text)
        return text

    @field_validator("hosts")
    @classmethod
    def _readable_hosts(cls, text: str) -> str:
        parse_hosts(text)
        return text

    @field_validator("result_moderation_refuse")
    @classmethod
    def _labels_have_limits(cls, text: str) -> str:
        _labels(text)
        return text

    @property
    def refused_labels(self) -> dict[str, float]:
        """The labels of results that are refused, each with the probability from which on."""
        return _labels(self.result_moderation_refuse)

    @property
    def limits_url(self) -> str:
        """The Redis that counts rate limits, or empty where there is none."""
        if self.redis_url:
            return self.redis_url
        return self.broker_url if self.broker_url.startswith("redis") else ""

    @property
    def pricing_url(self) -> str:
        """The page error messages send customers to."""
        return (self.dashboard_url or self.public_url).rstrip("/")

    @property
    def storage(self) -> str:
        """The storage URL in force."""
        return self.storage_url or (self.data / "storage").as_uri()

    def need_database(self) -> str:
        """The database URL; raises SetupError where there is none."""
        if not self.database_url:
            raise SetupError(_no_service("database", "DATABASE_URL", self.data))
        return self.database_url

    def need_broker(self) -> str:
        """The broker URL; raises SetupError where there is none."""
        if not self.broker_url:
            raise SetupError(_no_service("message broker", "BROKER_URL", self.data))
        return self.broker_url

    def signing_key(self) -> str:
        """The secret that signs output URLs: the setting, or one kept in the data folder."""
        if self.secret_key:
            return self.secret_key
        path = make_folder(self.data) / SECRET_FILE
        try:
            if not path.exists():
                _write_secret(path)
            key = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise SetupError(f"The secret {path} cannot be read or made ({error}).") from error
        if not key:
            # To sign with nothing would let everybody sign.
            raise SetupError(f"The secret {path} is empty. Remove it, and a new one is made.")
        return key


class _RunningFarm(PydanticBaseSettingsSource):
    """The last source asked: what a running ``farm up`` wrote into the data folder."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._services().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = self._services()
        # Keyed as the environment keys them, so that the environment's own value wins.
        return {_BARE_NAMES.get(name, name): value for name, value in found.items()}

    def _services(self) -> dict[str, Any]:
        folder = Path(self.current_state.get("data", default_data())).expanduser().absolute()
        return {k: v for k, v in running_services(folder).items() if k in Settings.model_fields}


def load_settings(data: Path | None = None) -> Settings:
    """Settings from the environment, then from a running ``farm up`` in the data folder.

    Raises:
        SetupError: a value is wrong, or a ``FARM_`` name is not known; the message names it.
    """
    known = [f"FARM_{name.upper()}" for name in Settings.model_fields if name not in _BARE_NAMES]
    for name in os.environ:
        if name.startswith("FARM_") and name not in known:
            candidates = [*known, *_BARE_NAMES.values()]
            near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SetupError(f"{name} is not a setting of the farm.{hint}")
    try:
        return Settings() if data is None else Settings(data=data)
    except ValidationError as error:
        problems = "; ".join(
            f"{_shown_name(str(item['loc'][0]))}: {item['msg']}" for item in error.errors()
        )
        raise SetupError(f"A setting is wrong. {problems}.") from error


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with some more in it, for a process that it becomes or starts."""
    return {**os.environ, **more}


def visible_gpus() -> str | None:
    """Which GPUs this process may use, as CUDA_VISIBLE_DEVICES says; None where it does not."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def secret(name: str) -> str | None:
    """The value of an environment variable that the operator chose; None where it is empty."""
    return os.environ.get(name) or None


def make_folder(path: Path) -> Path:
    """Create a folder (0700), or raise SetupError with what is in the way."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"The folder {path} cannot be made: {error.strerror}. "
            "Give another with --data DIR or FARM_DATA."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SetupError(
            f"The folder {path} cannot be written to. Give another with --data DIR or FARM_DATA."
        )
    return path


def running_services(folder: Path) -> dict[str, Any]:
    """What the ``farm up`` that runs in this data folder wrote down; empty where none runs."""
    path = folder / SERVICES_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise SetupError(
            f"{path} cannot be read ({error}). Remove it and run `farm up` again."
        ) from error
    if not isinstance(found, dict):
        raise SetupError(f"{path} is not a JSON object. Remove it and run `farm up` again.")
    return found


def _write_secret(path: Path) -> None:
    """A new random key, written aside and linked into place.

    Of several processes or threads that start at once one wins, and none reads half a key.
    """
    draft = path.with_suffix(f".{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _labels(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in text.split(","):
        label, _, limit = (part.strip() for part in item.rpartition("="))
        try:
            probability = float(limit)
        except ValueError:
            probability = math.nan
        if not label or label in found or not 0 < probability <= 1:
            raise ValueError(
                f"{item.strip()!r} is no label with a probability above 0 and up to 1, "
                "as nsfw=0.8; each label once, commas between them"
            )
        found[label] = probability
    return found


def _shown_name(field: str) -> str:
    return field if field.isupper() else f"FARM_{field.upper()}"


def _no_service(what: str, variable: str, data: Path) -> str:
    return (
        f"No {what}: {variable} is not set and no `farm up` is running in {data}. "
        f"Start one with `farm up --data {data}`, or set {variable}."
    )
