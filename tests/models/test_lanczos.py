"""Upscaling four times, held against Pillow's own result for the whole picture."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from models.base import Engine
from models.engines.lanczos import STRIP_ROWS, LanczosEngine
from tests.contracts.edit_engine import EditEngineContract, TimeIsUp, in_mode
from tests.models.setups import setup


class TestLanczos(EditEngineContract):
    model_id = "upscale-4x"
    operation = "upscale"
    served_by = "lanczos-tiny"
    params: ClassVar = {"scale": 4}
    bad_params: ClassVar = ({"scale": 2}, {"scale": "4"}, {"strength": 1})
    scale = 4

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return LanczosEngine(setup(cls.model_id, cls.served_by, cache, TimeIsUp))

    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    @pytest.mark.parametrize("height", [STRIP_ROWS - 1, STRIP_ROWS + 1, 3 * STRIP_ROWS])
    def test_the_seams_are_where_pillow_has_none(
        self, editor: Engine, mode: str, height: int
    ) -> None:
        size = (70, height)
        made = self.run(editor, self.request(size=size, mode=mode)).astype(int)
        large = (size[0] * 4, height * 4)
        whole = in_mode(self.picture(size), mode).resize(large, Image.Resampling.LANCZOS)
        assert np.abs(made - np.asarray(whole)).max() <= 1

    def test_the_scale_may_be_left_out(self, editor: Engine) -> None:
        assert self.run(editor, self.request(scale=None)).shape == (480, 640, 3)
