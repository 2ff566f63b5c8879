"""The farm's vocabulary: plain values that every layer may hold.

Nothing here imports anything of the project, opens a file or touches the network, so
the API, the workers and the engines can all share it.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

CREDIT_TENTHS = 10
"""Credits are stored as whole tenths: the wire shows one decimal and no more."""

OnStep = Callable[[int, int], None]
"""Called by an engine after each model step as ``on_step(step, steps)``; 1 <= step <= steps.

While it waits for somebody else's work an engine calls it again and again with the step that it
knows of, 0 before the first, so that a cancel is noticed. It raises
:class:`farm.errors.Cancelled` when the job is no longer this worker's."""


class JobState(enum.StrEnum):
    """Where a job stands. The words are the database's and the logs'; storefronts translate."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """True when the job has ended and neither its state nor its money will move again."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class AccountStatus(enum.StrEnum):
    """Whether an account may use its keys."""

    ACTIVE = "active"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: one API key of one account, as authentication found it."""

    account_id: uuid.UUID
    key_id: uuid.UUID
    storefront: str
    plan: str
    status: AccountStatus


@dataclass(frozen=True, slots=True)
class Picture:
    """A customer's picture as the farm keeps it: decoded once, upright, sRGB, no metadata.

    ``data`` is an uncompressed TIFF of mode ``RGB``, ``RGBA`` or, for a mask, ``L``; sides in
    pixels.
    """

    data: bytes
    mode: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class RemotePicture:
    """A picture that is still to be fetched, from a URL whose form was checked at submit.

    Of a mask, ``cut_out`` says that what is transparent is meant, not what is bright.
    """

    url: str
    cut_out: bool = False


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One unit of work, freed of its storefront's dialect.

    ``params`` holds exactly what the engine needs, defaults filled in and ranges checked
    against the model card; ``warnings`` are sentences for the caller; ``inputs`` are the
    pictures to work on, by the card's names for them; ``webhook_url`` is who is told of the
    job's end, its form checked. ``model`` is what runs; ``sold_as`` the model that was asked
    for and is paid, empty where it is the same. ``about`` are the request's own words that the
    storefront will want to show again (JSON values); the price may depend on them.
    """

    model: str
    operation: str
    params: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    inputs: Mapping[str, Picture | RemotePicture] = field(default_factory=dict)
    webhook_url: str | None = None
    sold_as: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's Idempotency-Key with the SHA-256 of the request it came with."""

    key: str
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What an engine is handed: one claimed attempt of one job.

    ``inputs`` are the bytes of the job's pictures (see :class:`Picture`), by name.
    """

    job_id: uuid.UUID
    attempt: int
    model: str
    operation: str
    params: Mapping[str, Any]
    inputs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What an engine made: encoded bytes, ready to be stored as they are.

    ``folder`` is the public path's first part (``images``, ``audio``, ``video``, ``models``),
    ``extension`` has no dot, ``facts`` are small JSON values worth showing (seed, size).
    """

    data: bytes
    media_type: str
    folder: str
    extension: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """An artifact that is durable: where it lies and what it must hash to.

    ``key`` is the storage's own name (``<job>/<attempt>/<random>.<ext>``), ``public_path``
    the unguessable path under ``/outputs/``.
    """

    key: str
    public_path: str
    sha256: bytes
    size_bytes: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on one job: the attempt number fences everything it does afterwards.

    ``inputs`` are the storage keys of the job's pictures, by name.
    """

    job_id: uuid.UUID
    account_id: uuid.UUID
    attempt: int
    model: str
    operation: str
    queue: str
    priority: int
    params: Mapping[str, Any]
    lease_until: datetime
    inputs: Mapping[str, str] = field(default_factory=dict)
