"""Outputs in a folder of this machine, or of a disk that all machines mount."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from farm.crash_points import FILE_RENAME, reach
from farm.errors import NotFound, StorageUnavailable
from farm.types import Artifact, StoredOutput

_NAME_BYTES = 24
"""192 random bits in a public file name."""


class LocalStorage:
    """A folder. A file appears under its name only when it is complete and on the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, job_id: uuid.UUID, attempt: int, artifact: Artifact) -> StoredOutput:
        """Write aside, flush to the disk, rename, flush the folder: then it is durable."""
        name = f"{secrets.token_urlsafe(_NAME_BYTES)}.{artifact.extension}"
        key = f"{job_id}/{attempt}/{name}"
        path = self._root / key
        with self._reported("stored"):
            # By itself: `parents` makes folders that everybody may list.
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_whole(path, artifact.data)
            # The names must survive a power cut as well, up to the root.
            for folder in (path.parent, path.parent.parent, self._root):
                _sync_folder(folder)
        day = datetime.now(UTC).strftime("%Y/%m/%d")
        return StoredOutput(
            key=key,
            public_path=f"{artifact.folder}/{day}/{name}",
            sha256=hashlib.sha256(artifact.data).digest(),
            size_bytes=len(artifact.data),
            media_type=artifact.media_type,
        )

    def open(self, key: str) -> BinaryIO:
        """The file, open for reading."""
        path = self._path(key)
        try:
            return path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("No such file, or its link has expired.") from None
        except OSError as error:
            raise StorageUnavailable(f"An output could not be read: {error.strerror}.") from error

    def delete(self, key: str) -> None:
        """Remove the file and the folders that it leaves empty."""
        path = self._path(key)
        with self._reported("deleted"):
            path.unlink(missing_ok=True)
            for folder in (path.parent, path.parent.parent):
                with contextlib.suppress(FileNotFoundError):
                    if not any(folder.iterdir()):
                        folder.rmdir()

    def attempts(self, older_than_s: float) -> Iterator[tuple[uuid.UUID, int]]:
        """Walk ``<job>/<attempt>`` folders that were last changed before the given age."""
        newest = time.time() - older_than_s
        with self._reported("listed"):
            if not self._root.is_dir():
                return
            with os.scandir(self._root) as jobs:
                for job in jobs:
                    if (job_id := _as_uuid(job.name)) is None:
                        continue
                    with os.scandir(job.path) as attempts:
                        for folder in attempts:
                            if folder.name.isdecimal() and folder.stat().st_mtime < newest:
                                yield job_id, int(folder.name)

    def delete_attempt(self, job_id: uuid.UUID, attempt: int) -> None:
        """Remove an attempt's folder, and its job's where that was the last."""
        folder = self._root / str(job_id) / str(attempt)
        with self._reported("deleted"):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
            with contextlib.suppress(FileNotFoundError):
                if not any(folder.parent.iterdir()):
                    folder.parent.rmdir()

    def keep(self, key: str, data: bytes) -> None:
        """Write aside, flush to the disk, rename over what was there, flush the folder."""
        path = self._root / key
        # Drafts begin with a dot, which no key does.
        draft = path.with_name(f".{secrets.token_hex(8)}")
        with self._reported("stored"):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                with draft.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                draft.rename(path)
            finally:
                draft.unlink(missing_ok=True)
            for folder in (path.parent, self._root):
                _sync_folder(folder)

    def kept(self, folder: str) -> dict[str, float]:
        """The files of a folder, drafts apart."""
        with self._reported("listed"):
            try:
                with os.scandir(self._root / folder) as found:
                    return {
                        entry.name: entry.stat().st_mtime
                        for entry in found
                        if not entry.name.startswith(".")
                    }
            except FileNotFoundError:
                return {}

    def check(self) -> None:
        """Make, flush and remove a small file."""
        with self._reported("stored"):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._root / f".probe-{secrets.token_hex(8)}"
            try:
                probe.write_bytes(b"farm")
            finally:
                probe.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root.resolve()):
            raise NotFound("No such file, or its link has expired.")
        return path

    @contextlib.contextmanager
    def _reported(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageUnavailable(
                f"An output could not be {done} in {self._root}: {error.strerror or error}."
            ) from error


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears under its name complete, or not at all."""
    draft = path.with_suffix(".part")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        reach(FILE_RENAME)
        draft.rename(path)
    except OSError:
        # A full disk is not helped by half a picture.
        draft.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _as_uuid(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name)
    except ValueError:
        return None
