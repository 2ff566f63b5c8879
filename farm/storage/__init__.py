"""Where outputs lie: one interface, one file per kind of storage, URLs that expire.

Inside, an output is ``<job>/<attempt>/<random>.<ext>``: two attempts of one job never write
the same file, and what no settled attempt owns can be told from what one does. Outside it is
``<folder>/<yyyy>/<mm>/<dd>/<random>.<ext>``; the random part cannot be guessed, and the URL
carries a signature with an expiry besides.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from farm.config import Settings
from farm.errors import SetupError
from farm.storage.local import LocalStorage
from farm.storage.signing import UrlSigner
from farm.types import Artifact, StoredOutput

__all__ = ["Storage", "UrlSigner", "open_storage"]


class Storage(Protocol):
    """What every storage does; ``tests/contracts/storage.py`` says it as tests."""

    def put(self, job_id: uuid.UUID, attempt: int, artifact: Artifact) -> StoredOutput:
        """Store an artifact; it is durable when this returns. Raises StorageUnavailable."""

    def open(self, key: str) -> BinaryIO:
        """The stored bytes, to be read and closed. Raises NotFound, StorageUnavailable."""

    def delete(self, key: str) -> None:
        """Remove one output; removing it again is harmless. Raises StorageUnavailable."""

    def attempts(self, older_than_s: float) -> Iterator[tuple[uuid.UUID, int]]:
        """Every (job, attempt) that has files, none newer than that. Raises StorageUnavailable."""

    def delete_attempt(self, job_id: uuid.UUID, attempt: int) -> None:
        """Remove all files of one attempt. Raises StorageUnavailable."""

    def keep(self, key: str, data: bytes) -> None:
        """Store bytes for good under a ``<folder>/<name>`` that is no job's, in place of what
        lay there; durable when this returns. Raises StorageUnavailable."""

    def kept(self, folder: str) -> dict[str, float]:
        """What was kept in a folder: each name and its unix seconds. Raises
        StorageUnavailable."""

    def check(self) -> None:
        """Write and remove a small file. Raises StorageUnavailable saying what is wrong."""


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name. Opens and makes nothing until it is used.

    Raises:
        SetupError: the URL is of a kind that is not known.
    """
    parts = urlsplit(settings.storage)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalStorage(Path(unquote(parts.path)))
    raise SetupError(
        f"FARM_STORAGE_URL is {settings.storage!r}: it must be file:///an/absolute/folder."
    )
