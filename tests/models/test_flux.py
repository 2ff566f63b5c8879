"""The FLUX.1 engine on its tiny checkpoints: pictures from words, and pictures painted over."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from farm.catalog import built_in_catalog
from farm.types import RunRequest
from models.base import Engine
from models.parts.edit_order import result_size
from models.registry import create
from tests.contracts.edit_engine import EditEngineContract, Pixels, Size, TimeIsUp, tiff
from tests.contracts.engine import EngineContract, ignore, pixels


class TestFluxSchnell(EngineContract):
    model_id = "flux-schnell"
    steps = 2

    def test_a_single_step_runs(self, engine: Engine) -> None:
        assert self.picture(engine, steps=1).shape == (256, 256, 3)

    def test_words_past_the_clip_encoders_reach_still_count(self, engine: Engine) -> None:
        start = "a fox " * 40
        assert not np.array_equal(
            self.picture(engine, prompt=start + "at night"),
            self.picture(engine, prompt=start + "in summer"),
        )


class TestFluxSchnellEdits(EditEngineContract):
    model_id = "flux-schnell"
    operation = "edit"
    served_by = "flux-schnell-tiny"
    params: ClassVar = {"prompt": "a red fox", "seed": 7, "steps": 2, "strength": 0.7}
    bad_params: ClassVar = (
        {"prompt": " "},
        {"seed": None},
        {"width": 0},
        {"strength": -0.1},
        {"strength": 1.5},
        {"strength": True},
        {"negative_prompt": "blue"},
    )
    size = (320, 256)
    keeps_alpha = False
    text: ClassVar = {"seed": "7", "steps": "2"}

    @classmethod
    def create(cls, cache: Path) -> Engine:
        card = built_in_catalog().models[cls.model_id]
        return create(card, "tiny", cache=cache, interrupts=(TimeIsUp,))

    @classmethod
    def result_size(cls, size: Size) -> Size:
        return result_size(size, None, None)

    def test_every_step_is_run_whatever_the_strength(self, editor: Engine) -> None:
        for strength in (0, 0.1, 1):
            seen: list[tuple[int, int]] = []
            request = self.request(strength=strength, steps=3)
            editor.run(request, lambda *step, seen=seen: seen.append(step))
            assert seen == [(1, 3), (2, 3), (3, 3)]

    def test_the_stronger_the_further_from_the_picture(self, editor: Engine) -> None:
        # The tiny autoencoder gives no picture back: what it makes of it stands for it.
        [kept, near, far, gone] = [
            self.run(editor, self.request(strength=share)).astype(int) for share in (0, 0.4, 0.8, 1)
        ]
        distances = [np.abs(made - kept).mean() for made in (near, far, gone)]
        assert 0 < distances[0] < distances[1] < distances[2]

    def test_at_full_strength_nothing_of_the_picture_is_left(self, editor: Engine) -> None:
        other = self.request(strength=1)
        dark = tiff(np.full((256, 320, 3), 20, np.uint8))
        inputs = RunRequest(other.job_id, 1, other.model, "edit", other.params, {"image": dark})
        assert np.array_equal(self.run(editor, inputs), self.run(editor, other))

    @pytest.mark.parametrize("asked", [(333, 517), (600, 256)])
    def test_any_size_comes_out_exactly(self, editor: Engine, asked: Size) -> None:
        made = self.run(editor, self.request(width=asked[0], height=asked[1]))
        assert made.shape == (asked[1], asked[0], 3)

    def test_no_weights_are_there_twice(self, editor: Engine) -> None:
        ours, theirs = (
            {name: id(part) for name, part in made.pipeline.components.items()}
            for made in (editor._model, editor._editor)  # type: ignore[attr-defined]
        )
        assert ours == theirs


@pytest.fixture(scope="module")
def dev(tiny_cache: Path) -> Iterator[Engine]:
    """FLUX.1 [dev] on its tiny checkpoint: another recipe for the same engine."""
    made = create(built_in_catalog().models["flux-dev"], "tiny", cache=tiny_cache)
    made.load("cpu")
    yield made
    made.unload()


def painted(engine: Engine, **changes: Any) -> Pixels:
    params = {"prompt": "a red fox", "width": 300, "height": 256, "steps": 2, "seed": 7}
    params |= {"guidance_scale": 3.5} | changes
    request = RunRequest(uuid.uuid4(), 1, "flux-dev", "generate", params)
    return pixels(engine.run(request, ignore)[0])


def test_the_dev_model_is_guided(dev: Engine) -> None:
    first = painted(dev)
    assert first.shape == (256, 300, 3)
    assert first.std(axis=(0, 1)).min() > 5
    assert np.array_equal(first, painted(dev))
    assert not np.array_equal(first, painted(dev, guidance_scale=7.0))
    assert not np.array_equal(first, painted(dev, seed=8))
    assert dev.served_by == "flux-dev-tiny"
