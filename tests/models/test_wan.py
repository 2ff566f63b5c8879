"""Wan 2.1 by its real classes, small: the contract, its sizes, its shift, and 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from diffusers import WanPipeline

from farm.errors import SetupError
from models.base import Engine
from models.parts import wan
from models.parts.diffusion import Diffusion, read_pipeline
from models.parts.text_to_video import VideoEngine
from tests.contracts.video_engine import (
    TimeIsUp,
    VideoEngineContract,
    decoded,
    film,
    filmer,
    frames,
    ignore,
)
from tests.models.checkpoints import making
from tests.models.checkpoints import wan as checkpoint

__all__ = ["film", "filmer", "frames"]

MODEL = "wan2.1"
STEPS = 3


def engine_in(cache: Path, *interrupts: type[Exception]) -> Engine:
    """The engine on a checkpoint that is written once to a test process."""
    folder = cache / "wan"
    if not folder.exists():
        checkpoint.write(folder / MODEL)
    return making.engine(MODEL, folder, *interrupts, steps=str(STEPS))


class TestWan(VideoEngineContract):
    model_id = MODEL
    served_by = "wan2.1"
    params: ClassVar = {"duration": 0.5, "resolution": "480p"}
    size = (832, 480)
    count = 9
    fps = 16
    steps = STEPS
    reported = STEPS
    bad_params: ClassVar = (
        ("duration", None),
        ("duration", 0),
        ("duration", True),
        ("duration", "3"),
        ("duration", float("nan")),
        ("duration", 1e9),
        ("resolution", None),
        ("resolution", "1080p"),
        ("resolution", 480),
        ("steps", 4),
        ("num_frames", 17),
    )

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return engine_in(cache, TimeIsUp)


def stop(step: int, steps: int) -> None:
    """An on_step that ends the job."""
    raise TimeIsUp


def test_720p_is_decoded_in_parts_and_has_a_shift_of_its_own(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / MODEL, patch=4)
    engine = making.engine(MODEL, tmp_path, TimeIsUp, steps="1")
    engine.load("cpu")
    assert isinstance(engine, VideoEngine)
    assert engine._model is not None
    [artifact] = engine.run(TestWan.request(duration=0.1, resolution="720p"), ignore)
    assert decoded(artifact.data).shape == (5, 720, 1280, 3)
    assert engine._model.pipeline.scheduler.config.flow_shift == 5.0
    with pytest.raises(TimeIsUp):
        engine.run(TestWan.request(duration=0.1), stop)
    assert engine._model.pipeline.scheduler.config.flow_shift == 3.0
    engine.unload()


@pytest.mark.parametrize(
    ("duration", "count"), [(1, 17), (1.0, 17), (1.1, 17), (1.2, 21), (3.0, 49), (10, 161)]
)
def test_a_duration_is_the_nearest_number_of_whole_latents(
    duration: float, count: int, tiny_cache: Path
) -> None:
    made = engine_in(tiny_cache)
    assert isinstance(made, VideoEngine)
    clip = made._read({"prompt": "x", "seed": 1, "duration": duration, "resolution": "480p"})
    assert (clip.frames, clip.facts["duration_s"]) == (count, count / 16)


def test_in_8_bits_it_takes_less_and_paints_nearly_the_same(tiny_cache: Path) -> None:
    """As it is opened for a GPU, but on the CPU."""
    engine = engine_in(tiny_cache)
    assert isinstance(engine, VideoEngine)
    request = TestWan.request(duration=0.1)
    engine.load("cpu")
    whole = engine.resident_bytes
    [plain] = engine.run(request, ignore)
    pipeline = read_pipeline(engine._setup, WanPipeline, wan.GPU_TYPES)
    wan.store_in_8_bits(pipeline)
    weights = [
        part.proj.weight for part in (block.ffn.net[0] for block in pipeline.transformer.blocks)
    ]
    assert {weight.dtype for weight in weights} == {torch.float8_e4m3fn}
    assert (pipeline.vae.dtype, pipeline.text_encoder.dtype) == (torch.float32, torch.bfloat16)
    engine._model = Diffusion(pipeline, "cpu")
    assert engine.resident_bytes < whole
    [stored] = engine.run(request, ignore)
    ours, theirs = (decoded(artifact.data).astype(int) for artifact in (stored, plain))
    assert np.abs(ours - theirs).mean() < 0.25 * theirs.std()


@pytest.mark.parametrize("steps", ["", "0", "many", "1001"])
def test_a_card_without_a_number_of_steps_is_refused(steps: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="option steps"):
        making.engine(MODEL, tmp_path, steps=steps)
