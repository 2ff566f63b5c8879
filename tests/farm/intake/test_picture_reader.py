"""A few pictures at a time, and what one may cost the process that reads it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from farm.cards import InputSpec
from farm.errors import Overloaded, UnreadableImage
from farm.intake.pictures import PictureReader
from tests.farm.intake import picture_parts as parts

ROOT = Path(__file__).parents[3]
SPEC = InputSpec()


class Upload(io.BytesIO):
    """A file that stops in the middle of being read, until it is let go."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__(parts.png())
        self._crowd = crowd

    def read(self, size: int | None = -1) -> bytes:
        self._crowd.enter()
        return super().read(size)


class Crowd:
    """Counts who is inside at a time."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.inside = threading.Semaphore(0)
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self.inside.release()
        assert self.go_on.wait(timeout=30)
        with self._lock:
            self._now -= 1


def test_no_more_than_so_many_are_read_at_once() -> None:
    reader, crowd = PictureReader(at_once=2, wait_s=30), Crowd()
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(reader.read, Upload(crowd), "image", SPEC) for _ in range(8)]
        assert crowd.inside.acquire(timeout=30)
        assert crowd.inside.acquire(timeout=30)
        assert not crowd.inside.acquire(timeout=0.2), "a third one got in"
        crowd.go_on.set()
        assert {future.result(timeout=30).width for future in futures} == {parts.SIZE[0]}
    assert crowd.most == 2


def test_who_waited_too_long_is_told_to_come_again() -> None:
    reader, crowd = PictureReader(at_once=1, wait_s=0.05), Crowd()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(reader.read, Upload(crowd), "image", SPEC)
        assert crowd.inside.acquire(timeout=30)
        with pytest.raises(Overloaded, match="Send it again"):
            reader.read(parts.png(), "image", SPEC)
        crowd.go_on.set()
        assert first.result(timeout=30).mode == "RGB"
    assert reader.read(parts.png(), "image", SPEC).mode == "RGB"


def test_a_refused_picture_gives_its_turn_back() -> None:
    reader = PictureReader(at_once=1, wait_s=0.05)
    for _ in range(3):
        with pytest.raises(UnreadableImage):
            reader.read(b"no picture", "image", SPEC)
    assert reader.read(parts.png(), "image", SPEC).mode == "RGB"


def test_a_turn_is_held_for_as_long_as_its_pictures_are_needed() -> None:
    reader = PictureReader(at_once=1, wait_s=0.05)
    with reader.turn() as read:
        image, mask = (read(parts.png(), name, SPEC) for name in ("image", "mask"))
        assert image == mask
        with pytest.raises(Overloaded):
            reader.read(parts.png(), "image", SPEC)
    assert reader.read(parts.png(), "image", SPEC) == image


def cost(*words: str) -> dict[str, Any]:
    """What :mod:`tests.farm.intake.picture_cost` says."""
    command = [sys.executable, "-W", "error", "-m", "tests.farm.intake.picture_cost", *words]
    done = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_hostile_upload_costs_a_gigabyte_or_twenty_seconds() -> None:
    found = cost("hostile")
    assert found["peak_mb"] < 1_000, found
    assert found["seconds"] < 20, found


def test_the_largest_upload_costs_two_hundred_megabytes_and_many_of_them_a_bit_more(
    tmp_path: Path,
) -> None:
    noise = Image.effect_noise((1024, 1024), 50).resize((4096, 4096), Image.Resampling.NEAREST)
    image = Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))
    content = parts.saved(image, "JPEG", quality=70, exif=b"Exif\0\0" + parts.exif(6))
    assert 5_000_000 < len(content) <= SPEC.bytes_max
    path = tmp_path / "large.jpg"
    path.write_bytes(content + bytes(SPEC.bytes_max - len(content)))
    assert cost(str(path))["rise_mb"] < 200
    assert cost(str(path), "8")["rise_mb"] < 600
