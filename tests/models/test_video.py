"""Frames become a film: their colours, their number, and what is refused."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.parts import video
from tests.contracts.video_engine import decoded

WIDTH, HEIGHT = 64, 48


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever comes of it, no file stays behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def plain(colour: tuple[int, int, int], width: int = WIDTH) -> NDArray[np.uint8]:
    """A frame of one colour."""
    return np.full((HEIGHT, width, 3), colour, np.uint8)


def test_colours_come_back_as_they_went_in() -> None:
    colours = [(200, 40, 90), (0, 0, 0), (255, 255, 255), (10, 220, 30), (40, 60, 230)]
    data = video.mp4((plain(colour) for colour in colours), WIDTH, HEIGHT, 8, {})
    for frame, colour in zip(decoded(data), colours, strict=True):
        assert np.abs(frame.astype(int) - colour).max() <= 4


def test_one_frame_is_a_film_too() -> None:
    assert len(decoded(video.mp4([plain((1, 2, 3))], WIDTH, HEIGHT, 8, {}))) == 1


def test_a_film_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="needs frames"):
        video.mp4([], WIDTH, HEIGHT, 8, {})


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="not part of the film"):
        video.mp4([plain((0, 0, 0)), plain((0, 0, 0), 66)], WIDTH, HEIGHT, 8, {})


def test_what_a_frame_costs_its_maker_passes_through() -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield plain((0, 0, 0))
        raise KeyError("a slip")

    with pytest.raises(KeyError, match="a slip"):
        video.mp4(broken(), WIDTH, HEIGHT, 8, {})
