"""The FLUX.2 engine on its tiny checkpoint: pictures from words, and from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from farm.catalog import built_in_catalog
from farm.types import RunRequest
from models.base import Engine
from models.parts.edit_order import result_size
from models.registry import create
from tests.contracts.edit_engine import EditEngineContract, Pixels, Size, TimeIsUp, tiff
from tests.contracts.engine import EngineContract


class TestFlux2(EngineContract):
    model_id = "flux-2"
    steps = 2


class TestFlux2Edits(EditEngineContract):
    model_id = "flux-2"
    operation = "edit"
    served_by = "flux-2-tiny"
    params: ClassVar = {"prompt": "a red fox", "seed": 7, "steps": 2}
    bad_params: ClassVar = ({"prompt": " "}, {"steps": None}, {"strength": 0.5})
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

    def with_pictures(self, *colours: int, size: Size = (320, 256)) -> RunRequest:
        """A job with a plain picture of each of these greys."""
        request = self.request()
        names = ("image", "image_2", "image_3", "image_4")
        inputs = {
            name: tiff(np.full((size[1], size[0], 3), colour, np.uint8))
            for name, colour in zip(names, colours, strict=False)
        }
        return RunRequest(request.job_id, 1, request.model, "edit", request.params, inputs)

    def test_every_picture_counts_and_so_does_their_order(self, editor: Engine) -> None:
        seen: list[Pixels] = []
        for greys in ((20,), (20, 240), (240, 20), (20, 240, 90), (20, 240, 90, 160)):
            seen.append(self.run(editor, self.with_pictures(*greys)))
            assert seen[-1].shape == (256, 320, 3)
            assert not any(np.array_equal(seen[-1], before) for before in seen[:-1])

    @pytest.mark.parametrize("asked", [(333, 517), (600, 256)])
    def test_any_size_comes_out_exactly(self, editor: Engine, asked: Size) -> None:
        made = self.run(editor, self.request(width=asked[0], height=asked[1]))
        assert made.shape == (asked[1], asked[0], 3)
