"""What the farm stands on: PostgreSQL, the broker, the Redis that counts, the storage."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

from farm import vitals
from farm.broker import is_redis, make_celery, messages_waiting, redis_py_url
from farm.cli.doctor.check import Check, Patient
from farm.config import make_folder
from farm.db import schema_is_current
from farm.errors import BrokerUnavailable, DatabaseUnavailable
from farm.storage import open_storage

NEARLY = 0.9
"""Of connections or memory: from here on it is told while there is time."""
_ANSWER_S = 2.0
_GIB = 1 << 30


def database(patient: Patient) -> Iterator[Check]:
    """It answers, with this version's schema, and has connections left."""
    try:
        current = patient.db.attempt(schema_is_current)
    except DatabaseUnavailable:
        says = "The database does not answer: start PostgreSQL, or correct DATABASE_URL."
        yield Check("database", False, says)
        return
    if not current:
        yield Check("database", False, "it has another schema: run `farm db upgrade`.")
        return
    yield Check("database", True, "it answers and has this version's schema.")
    found = vitals.sessions(patient.db)
    says = f"{found.used} of {found.allowed} are in use."
    if found.used >= NEARLY * found.allowed:
        says = (
            f"{found.used} of {found.allowed} are in use: lower FARM_DB_POOL_SIZE or "
            "FARM_WEB_WORKERS, or raise max_connections in postgresql.conf."
        )
    yield Check("connections", found.used < NEARLY * found.allowed, says)


def broker(patient: Patient) -> Iterator[Check]:
    """It answers, and if it is a Redis it forgets nothing."""
    url = patient.settings.need_broker()
    try:
        messages_waiting(make_celery(patient.settings, patient.catalog))
    except BrokerUnavailable as error:
        says = f"{error} Start it, or correct BROKER_URL. Jobs are accepted and wait meanwhile."
        yield Check("broker", False, says)
        return
    yield Check("broker", True, "it answers.")
    if is_redis(url):
        yield memory(_info(url))


def memory(facts: Mapping[str, Any]) -> Check:
    """Whether a Redis has room, and keeps what it holds; ``facts`` are its INFO memory."""
    limit, policy = int(facts.get("maxmemory", 0)), facts.get("maxmemory_policy", "noeviction")
    used = int(facts.get("used_memory", 0))
    if limit and policy != "noeviction":
        says = (
            f"maxmemory-policy is {policy}: Redis drops messages when it is full. "
            "Run `redis-cli CONFIG SET maxmemory-policy noeviction`."
        )
        return Check("broker memory", False, says)
    if limit and used >= NEARLY * limit:
        says = (
            f"{used >> 20} of {limit >> 20} MiB are in use: see with `farm queues` what waits, "
            "start workers, or raise maxmemory."
        )
        return Check("broker memory", False, says)
    return Check("broker memory", True, f"{used >> 20} MiB are in use and nothing is evicted.")


def limits(patient: Patient) -> Iterator[Check]:
    """The Redis that counts calls and carries events."""
    url = patient.settings.limits_url
    if not url:
        says = (
            "each process counts alone, and clients that wait hear of ends later: "
            "set FARM_REDIS_URL to a Redis."
        )
        yield Check("rate limits", False, says)
        return
    try:
        with _client(url) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        says = (
            f"their Redis does not answer ({type(error).__name__}), so each process counts alone: "
            "start it, or correct FARM_REDIS_URL."
        )
        yield Check("rate limits", False, says)
    else:
        yield Check("rate limits", True, "their Redis answers.")


def storage(patient: Patient) -> Iterator[Check]:
    """It can be written to, and has room."""
    settings = patient.settings
    make_folder(settings.data)
    open_storage(settings).check()
    yield Check("storage", True, f"{settings.storage} can be written to.")
    folder = Path(unquote(urlsplit(settings.storage).path))
    yield room(folder, *shutil.disk_usage(folder))


def room(folder: Path, total: int, used: int, free: int) -> Check:
    """Whether a disk has room for more than the next hours; all numbers are bytes."""
    del used  # what others may not use is neither used nor free
    enough = max(_GIB, min(total // 20, 20 * _GIB))
    says = f"{free / _GIB:.1f} GiB are free in {folder}."
    if free < enough:
        says = (
            f"only {free / _GIB:.1f} GiB are free in {folder}: outputs will not be stored and "
            "their jobs fail, uncharged. Make room, or lower FARM_OUTPUT_TTL_S."
        )
    return Check("disk", free >= enough, says)


def _client(url: str) -> contextlib.closing[Any]:
    options = {"socket_timeout": _ANSWER_S, "socket_connect_timeout": _ANSWER_S}
    return contextlib.closing(redis.Redis.from_url(redis_py_url(url), **options))


def _info(url: str) -> Mapping[str, Any]:
    """Raises BrokerUnavailable where Redis does not tell."""
    try:
        with _client(url) as client:
            found: Mapping[str, Any] = client.info("memory")
            return found
    except (redis.RedisError, OSError) as error:
        raise BrokerUnavailable(f"Redis does not tell of its memory ({error}).") from error
