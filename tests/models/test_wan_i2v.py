"""Wan 2.1 from a picture by its real classes, small: the contract, its shapes, its tiles."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image

from models.base import Engine
from models.engines import wan_i2v
from models.parts import start_picture, wan
from models.parts.diffusion import Diffusion, read_pipeline
from models.parts.text_to_video import VideoEngine
from models.parts.video_params import WAN_MULTIPLE, Clip
from tests.contracts.video_engine import (
    Frames,
    ImageVideoEngineContract,
    TimeIsUp,
    decoded,
    film,
    filmer,
    frames,
    ignore,
)
from tests.models.checkpoints import making
from tests.models.checkpoints import wan as checkpoint

__all__ = ["film", "filmer", "frames"]

MODEL = "wan-i2v"
STEPS = 2
AREA = 832 * 480


def engine_in(cache: Path, *interrupts: type[Exception]) -> Engine:
    """The engine on a checkpoint that is written once to a test process."""
    folder = cache / MODEL
    if not folder.exists():
        checkpoint.write_for_pictures(folder / MODEL)
    return making.engine(MODEL, folder, *interrupts, steps=str(STEPS))


class TestWanImage(ImageVideoEngineContract):
    model_id = MODEL
    served_by = MODEL
    params: ClassVar = {"duration": 0.3, "resolution": "480p"}
    size = (832, 480)
    count = 5
    fps = 16
    steps = STEPS
    reported = STEPS
    bad_params: ClassVar = (
        ("duration", None),
        ("duration", 1e9),
        ("resolution", "1080p"),
        ("steps", 4),
    )

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return engine_in(cache, TimeIsUp)

    def test_in_8_bits_it_takes_less_and_paints_nearly_the_same(
        self, filmer: Engine, frames: Frames, tiny_cache: Path
    ) -> None:
        """As it is opened for a GPU, but on the CPU."""
        engine = engine_in(tiny_cache)
        assert isinstance(engine, VideoEngine)
        pipeline = read_pipeline(engine._setup, WanImageToVideoPipeline, wan_i2v.GPU_TYPES)
        wan.store_in_8_bits(pipeline)
        kinds = pipeline.vae.dtype, pipeline.image_encoder.dtype, pipeline.text_encoder.dtype
        assert kinds == (torch.float32, torch.float32, torch.bfloat16)
        engine._model = Diffusion(pipeline, "cpu")
        assert engine.resident_bytes < filmer.resident_bytes
        [stored] = engine.run(self.request(), ignore)
        ours = decoded(stored.data).astype(int)
        assert np.abs(ours - frames).mean() < 0.25 * frames.std()


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((832, 480), (832, 480)),
        ((480, 832), (480, 832)),
        ((1920, 1080), (832, 464)),
        ((1000, 1000), (624, 624)),
        ((1, 1), (624, 624)),
        ((4000, 1333), (1088, 352)),
        ((4096, 1), (1088, 352)),
        ((2, 4000), (352, 1088)),
    ],
)
def test_a_film_has_its_pictures_proportions(
    picture: tuple[int, int], size: tuple[int, int]
) -> None:
    found = start_picture.film_size(picture, AREA, WAN_MULTIPLE)
    assert found == size
    assert 0.9 * AREA < found[0] * found[1] <= AREA


def test_a_picture_is_fitted_by_cutting_and_never_squeezed() -> None:
    y, x = np.mgrid[0:300, 0:400]
    # Every pixel is its own place.
    places = Image.fromarray(np.dstack([x // 2, y // 2, x * 0]).astype(np.uint8))
    fitted = np.asarray(start_picture.fitted(places, 200, 200)).astype(int)[..., :2] * 2
    assert np.abs(fitted[100, 100] - (200, 150)).max() < 4, "the middle stays the middle"
    assert np.abs(fitted[2, 2] - (53, 3)).max() < 5
    assert np.abs(fitted[-3, -3] - (347, 297)).max() < 5


@pytest.mark.parametrize(
    ("size", "tile", "shift"),
    [
        ((832, 480), (832, 480), 3.0),
        ((624, 624), (624, 624), 3.0),
        ((480, 832), (480, 832), 3.0),
        ((1280, 720), (832, 480), 5.0),
        ((720, 1280), (480, 832), 5.0),
        ((960, 960), (832, 480), 5.0),
    ],
)
def test_480p_is_decoded_whole_and_720p_in_parts_with_a_shift_of_its_own(
    size: tuple[int, int], tile: tuple[int, int], shift: float, tiny_cache: Path
) -> None:
    engine = engine_in(tiny_cache)
    assert isinstance(engine, VideoEngine)
    clip = Clip("x", "", 1, *size, 5, 16, 1)
    pipeline = read_pipeline(engine._setup, WanImageToVideoPipeline, torch.float32)
    wan.set_up(pipeline, clip)
    assert pipeline.scheduler.config.flow_shift == shift
    vae = pipeline.vae
    assert (vae.tile_sample_min_width, vae.tile_sample_min_height) == tile
    assert vae.tile_sample_stride_width <= tile[0]
    assert vae.tile_sample_stride_height <= tile[1]
