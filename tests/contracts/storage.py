"""What every storage does. A subclass says how to make one, in the fixture ``storage``."""

from __future__ import annotations

import hashlib
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from farm.errors import NotFound
from farm.storage import Storage
from farm.types import Artifact, StoredOutput

FOREVER_S = -3600.0
"""As an age: everything is older than what was written an hour from now."""


def picture(data: bytes = b"picture") -> Artifact:
    """An artifact as an engine makes it."""
    return Artifact(data, "image/png", "images", "png")


def read(storage: Storage, key: str) -> bytes:
    """All bytes of one output."""
    with storage.open(key) as file:
        return file.read()


def is_gone(storage: Storage, key: str) -> bool:
    """True when the output cannot be opened any more."""
    try:
        storage.open(key).close()
    except NotFound:
        return True
    return False


class StorageContract:
    """Subclass with a fixture ``storage`` that gives an empty storage."""

    @pytest.fixture
    def job_id(self) -> uuid.UUID:
        """A new job's id."""
        return uuid.uuid4()

    @pytest.fixture
    def stored(self, storage: Storage, job_id: uuid.UUID) -> StoredOutput:
        """The first attempt's output."""
        return storage.put(job_id, 1, picture())

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 20_000])
    def test_what_is_put_is_read_back_with_its_hash_and_size(
        self, storage: Storage, job_id: uuid.UUID, data: bytes
    ) -> None:
        output = storage.put(job_id, 1, picture(data))
        assert read(storage, output.key) == data
        assert output.sha256 == hashlib.sha256(data).digest()
        assert output.size_bytes == len(data)
        assert output.media_type == "image/png"

    def test_an_attempt_has_a_place_of_its_own(self, storage: Storage, job_id: uuid.UUID) -> None:
        outputs = [
            storage.put(job_id, attempt, picture(b"%d" % attempt)) for attempt in (1, 2, 2, 12)
        ]
        assert len({output.key for output in outputs}) == 4
        for attempt, output in zip((1, 2, 2, 12), outputs, strict=True):
            assert re.fullmatch(rf"{job_id}/{attempt}/[\w-]+\.png", output.key)
            assert read(storage, output.key) == b"%d" % attempt

    @pytest.mark.parametrize(
        ("folder", "extension"),
        [("images", "png"), ("audio", "wav"), ("video", "mp4"), ("models", "glb")],
    )
    def test_the_public_path_has_its_day_and_cannot_be_guessed(
        self, storage: Storage, job_id: uuid.UUID, folder: str, extension: str
    ) -> None:
        before = datetime.now(UTC)
        output = storage.put(job_id, 1, Artifact(b"x", "a/b", folder, extension))
        shape = rf"{folder}/(\d{{4}}/\d\d/\d\d)/([\w-]+)\.{extension}"
        found = re.fullmatch(shape, output.public_path)
        assert found is not None
        assert found[1] in {f"{t:%Y/%m/%d}" for t in (before, datetime.now(UTC))}
        # 22 characters of base 64 are 132 bits.
        assert len(found[2]) >= 22
        assert str(job_id) not in output.public_path

    def test_no_two_outputs_share_a_name(self, storage: Storage, job_id: uuid.UUID) -> None:
        outputs = [storage.put(job_id, 1, picture()) for _ in range(50)]
        assert len({output.public_path for output in outputs}) == 50
        assert len({output.key for output in outputs}) == 50

    def test_threads_may_store_at_once(self, storage: Storage, job_id: uuid.UUID) -> None:
        def put(number: int) -> tuple[str, bytes]:
            data = b"%d" % number * 1000
            return storage.put(job_id, number % 3, picture(data)).key, data

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(put, range(24)))
        assert all(read(storage, key) == data for key, data in found)

    def test_what_is_deleted_is_not_found_and_deleting_again_is_harmless(
        self, storage: Storage, job_id: uuid.UUID, stored: StoredOutput
    ) -> None:
        other = storage.put(job_id, 1, picture(b"other"))
        for _ in range(2):
            storage.delete(stored.key)
            assert is_gone(storage, stored.key)
        assert read(storage, other.key) == b"other"
        storage.delete(other.key)
        assert list(storage.attempts(FOREVER_S)) == []

    def test_what_was_never_put_is_not_found_and_may_be_deleted(
        self, storage: Storage, job_id: uuid.UUID, stored: StoredOutput
    ) -> None:
        for key in (f"{job_id}/1/none.png", f"{job_id}/2/none.png", f"{uuid.uuid4()}/1/none.png"):
            with pytest.raises(NotFound):
                storage.open(key)
            storage.delete(key)
        assert read(storage, stored.key) == b"picture"

    def test_an_empty_storage_has_nothing(self, storage: Storage, job_id: uuid.UUID) -> None:
        assert list(storage.attempts(FOREVER_S)) == []
        assert is_gone(storage, f"{job_id}/1/none.png")
        storage.delete(f"{job_id}/1/none.png")
        storage.delete_attempt(job_id, 1)

    def test_the_attempts_are_listed_once_each_and_by_age(
        self, storage: Storage, job_id: uuid.UUID
    ) -> None:
        other = uuid.uuid4()
        for job, attempt in ((job_id, 1), (job_id, 1), (job_id, 2), (other, 3)):
            storage.put(job, attempt, picture())
        expected = sorted([(job_id, 1), (job_id, 2), (other, 3)])
        assert sorted(storage.attempts(FOREVER_S)) == expected
        assert list(storage.attempts(timedelta(hours=1).total_seconds())) == []

    def test_one_attempt_is_deleted_whole_and_alone(
        self, storage: Storage, job_id: uuid.UUID, stored: StoredOutput
    ) -> None:
        late = [storage.put(job_id, 2, picture(b"late")) for _ in range(2)]
        for _ in range(2):
            storage.delete_attempt(job_id, 2)
            assert all(is_gone(storage, output.key) for output in late)
        assert list(storage.attempts(FOREVER_S)) == [(job_id, 1)]
        assert read(storage, stored.key) == b"picture"
        storage.delete_attempt(job_id, 1)
        assert list(storage.attempts(FOREVER_S)) == []

    def test_attempts_may_be_deleted_while_they_are_listed(self, storage: Storage) -> None:
        jobs = [uuid.uuid4() for _ in range(5)]
        for job in jobs:
            storage.put(job, 1, picture())
            storage.put(job, 2, picture())
        for job, attempt in storage.attempts(FOREVER_S):
            storage.delete_attempt(job, attempt)
        assert list(storage.attempts(FOREVER_S)) == []

    @pytest.mark.parametrize(
        "key",
        [
            "../secret",
            "../../etc/passwd",
            "/etc/passwd",
            "{job}/1/../../../secret",
            "{job}/../../secret",
        ],
    )
    def test_no_key_leads_out_of_the_storage(
        self, storage: Storage, job_id: uuid.UUID, stored: StoredOutput, key: str
    ) -> None:
        with pytest.raises(NotFound):
            storage.open(key.format(job=job_id))
        with pytest.raises(NotFound):
            storage.delete(key.format(job=job_id))
        assert read(storage, stored.key) == b"picture"

    def test_the_check_passes_and_leaves_nothing(self, storage: Storage) -> None:
        storage.check()
        storage.check()
        assert list(storage.attempts(FOREVER_S)) == []

    def test_what_is_kept_lies_under_its_name_until_it_is_replaced(
        self, storage: Storage, stored: StoredOutput
    ) -> None:
        assert storage.kept("styles") == {}
        storage.keep("styles/oil.webp", b"first")
        before = storage.kept("styles")
        storage.keep("styles/oil.webp", b"second")
        storage.keep("styles/ink.webp", b"")
        assert read(storage, "styles/oil.webp") == b"second"
        after = storage.kept("styles")
        assert set(after) == {"oil.webp", "ink.webp"}
        assert after["oil.webp"] >= before["oil.webp"]
        # No attempt of any job: nothing sweeps it away.
        assert [job_id for job_id, _ in storage.attempts(FOREVER_S)] == [
            uuid.UUID(stored.key.partition("/")[0])
        ]
