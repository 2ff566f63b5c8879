"""The local storage keeps the contract, says what is wrong, and its URLs cannot be bent."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import Settings
from farm.errors import SetupError, StorageUnavailable
from farm.storage import Storage, UrlSigner, open_storage
from farm.storage.local import LocalStorage
from tests.contracts.storage import FOREVER_S, StorageContract, picture, read

NOW = datetime(2026, 2, 18, 10, 30, tzinfo=UTC)
PATH = "images/2026/02/18/abcdef.png"


class TestLocalStorage(StorageContract):
    """A folder that is made when it is first used."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path / "deep" / "storage")


def files(root: Path) -> list[Path]:
    """Every file below a folder."""
    return [path for path in root.rglob("*") if path.is_file()]


def test_nothing_but_whole_outputs_lies_in_the_folder_and_only_for_its_owner(
    tmp_path: Path,
) -> None:
    root = tmp_path / "storage"
    storage = LocalStorage(root)
    assert not root.exists()
    output = storage.put(uuid.uuid4(), 1, picture())
    storage.check()
    assert files(root) == [root / output.key]
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    storage.delete(output.key)
    assert list(root.iterdir()) == []


def test_what_is_not_an_attempt_is_left_out_of_the_listing(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    job_id = uuid.uuid4()
    storage.put(job_id, 1, picture())
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "notes.txt").write_text("the operator's")
    (tmp_path / str(job_id) / "draft").mkdir()
    assert list(storage.attempts(FOREVER_S)) == [(job_id, 1)]


def test_a_folder_that_cannot_be_made_is_named_in_every_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    root = tmp_path / "file" / "storage"
    storage = LocalStorage(root)
    tries: list[Callable[[], object]] = [
        lambda: storage.put(uuid.uuid4(), 1, picture()),
        storage.check,
    ]
    for attempt in tries:
        with pytest.raises(StorageUnavailable) as caught:
            attempt()
        assert str(root) in str(caught.value)
        assert "Not a directory" in str(caught.value)


def test_a_folder_in_a_files_place_cannot_be_read(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    job_id = uuid.uuid4()
    (tmp_path / str(job_id) / "1" / "x.png").mkdir(parents=True)
    with pytest.raises(StorageUnavailable, match="could not be read"):
        storage.open(f"{job_id}/1/x.png")


_FULL_DISK = f"""
import resource, signal, sys, uuid
from pathlib import Path
from farm.errors import StorageUnavailable
from farm.storage.local import LocalStorage
from farm.types import Artifact

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, {resource.RLIM_INFINITY}))
storage = LocalStorage(Path(sys.argv[1]))
try:
    storage.put(uuid.UUID(int=1), 1, Artifact(bytes(1 << 20), "image/png", "images", "png"))
except StorageUnavailable as error:
    print(error)
storage.put(uuid.UUID(int=1), 2, Artifact(b"small", "image/png", "images", "png"))
"""


def test_an_output_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the full disk."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "could not be stored" in done.stdout
    assert str(tmp_path) in done.stdout
    [path] = files(tmp_path)
    assert path.read_bytes() == b"small"
    assert path.parent.name == "2"


def test_the_settings_name_the_storage(tmp_path: Path) -> None:
    spaced = tmp_path / "with space"
    for settings, root in (
        (Settings(data=tmp_path), tmp_path / "storage"),
        (Settings(storage_url=f"file://{tmp_path}/here"), tmp_path / "here"),
        (Settings(storage_url=f"file://localhost{tmp_path}/there"), tmp_path / "there"),
        (Settings(storage_url=spaced.as_uri()), spaced),
    ):
        storage = open_storage(settings)
        assert not root.exists()
        output = storage.put(uuid.uuid4(), 1, picture())
        assert (root / output.key).is_file()
        assert read(storage, output.key) == b"picture"


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "file://otherhost/x", "/a/folder", "storage", "https://h/x"]
)
def test_a_storage_that_is_not_known_is_a_sentence(url: str) -> None:
    with pytest.raises(SetupError, match=r"FARM_STORAGE_URL is .* file:///") as caught:
        open_storage(Settings(storage_url=url))
    assert url in str(caught.value)


def signer_at(moment: datetime, secret: str = "secret") -> UrlSigner:
    """A signer whose clock stands still."""
    return UrlSigner(secret, clock=moment.timestamp)


def signed(path: str = PATH, expires_at: datetime = NOW) -> tuple[str, str]:
    """(exp, sig) of a URL that was signed some time before."""
    query = parse_qs(signer_at(NOW).sign(path, expires_at), strict_parsing=True)
    assert set(query) == {"exp", "sig"}
    return query["exp"][0], query["sig"][0]


def test_a_signed_path_is_good_until_its_last_second() -> None:
    exp, sig = signed()
    for early in (timedelta(days=1), timedelta(seconds=1), timedelta(microseconds=1)):
        assert signer_at(NOW - early).verify(PATH, exp, sig)
    for late in (timedelta(0), timedelta(seconds=1), timedelta(days=400)):
        assert not signer_at(NOW + late).verify(PATH, exp, sig)


def test_whoever_asks_again_gets_the_same_url() -> None:
    later = signer_at(NOW + timedelta(hours=3))
    assert later.sign(PATH, NOW) == signer_at(NOW).sign(PATH, NOW)


def test_the_query_needs_no_quoting() -> None:
    query = signer_at(NOW).sign(PATH, NOW)
    assert query.isascii()
    assert not set(query) & set(" +/%#?")


def test_another_secret_signs_otherwise() -> None:
    exp, sig = signed()
    assert not signer_at(NOW - timedelta(hours=1), "another").verify(PATH, exp, sig)


@pytest.mark.parametrize(
    "path", ["", "images", PATH.upper(), f"/{PATH}", f"{PATH}?", "../" + PATH, PATH[:-1], "ü", "\0"]
)
def test_another_path_needs_another_signature(path: str) -> None:
    exp, sig = signed()
    assert not signer_at(NOW - timedelta(hours=1)).verify(path, exp, sig)


@pytest.mark.parametrize(
    "exp", ["", "0", "-1", "9" * 12, "9" * 13, "9" * 5000, "1e12", "٣", "²", "0x1", " 1", "nan"]
)
def test_an_altered_expiry_is_refused(exp: str) -> None:
    _, sig = signed()
    assert not signer_at(NOW - timedelta(hours=1)).verify(PATH, exp, sig)


def test_an_expiry_written_otherwise_is_refused() -> None:
    exp, sig = signed()
    early = signer_at(NOW - timedelta(hours=1))
    for other in (f"0{exp}", f"+{exp}", f"{exp} ", f"{exp}.0", str(int(exp) + 1)):
        assert not early.verify(PATH, other, sig)


@given(st.text(max_size=60))
def test_no_other_signature_passes(sig: str) -> None:
    exp, good = signed()
    early = signer_at(NOW - timedelta(hours=1))
    assert early.verify(PATH, exp, sig) is (sig == good)


@given(st.integers(min_value=0, max_value=42), st.characters(codec="ascii"))
def test_one_altered_character_is_enough(place: int, char: str) -> None:
    """The last of 43 characters holds 4 bits, so that another may stand for the same bytes."""
    exp, good = signed()
    place = min(place, len(good) - 2)
    altered = good[:place] + char + good[place + 1 :]
    early = signer_at(NOW - timedelta(hours=1))
    assert early.verify(PATH, exp, altered) is (altered == good)
