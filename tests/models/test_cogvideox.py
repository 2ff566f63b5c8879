"""CogVideoX by its real classes, small: the contract, and numbers of frames."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from models.base import Engine
from models.parts import video_params
from tests.contracts.video_engine import (
    TimeIsUp,
    VideoEngineContract,
    film,
    filmer,
    frames,
)
from tests.models.checkpoints import cogvideox, making

__all__ = ["film", "filmer", "frames"]

MODEL = "cogvideo-2b"


class TestCogVideoX(VideoEngineContract):
    model_id = MODEL
    served_by = "cogvideo-2b"
    params: ClassVar = {"num_frames": 11, "steps": 2, "resolution": "480p"}
    size = (720, 480)
    count = 9
    fps = 8
    steps = 2
    reported = 2
    bad_params: ClassVar = (
        ("num_frames", None),
        ("num_frames", 0),
        ("num_frames", 9.0),
        ("num_frames", True),
        ("num_frames", 100_000),
        ("steps", 0),
        ("resolution", "720p"),
        ("duration", 3.0),
    )

    @classmethod
    def create(cls, cache: Path) -> Engine:
        folder = cache / "cogvideox"
        if not folder.exists():
            cogvideox.write(folder / MODEL)
        return making.engine(MODEL, folder, TimeIsUp)


@pytest.mark.parametrize(
    ("asked", "made"), [(1, 9), (9, 9), (12, 9), (13, 17), (16, 17), (45, 49), (49, 49)]
)
def test_a_number_of_frames_is_the_nearest_that_the_decoder_makes(asked: int, made: int) -> None:
    params = {"prompt": "x", "seed": 1, "num_frames": asked, "steps": 10}
    assert video_params.reader(MODEL, {})(params).frames == made
