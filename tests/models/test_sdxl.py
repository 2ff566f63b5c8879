"""The SDXL engine on its tiny checkpoint."""

from __future__ import annotations

import numpy as np

from models.base import Engine
from tests.contracts.engine import EngineContract


class TestSdxl(EngineContract):
    model_id = "sdxl"
    steps = 3

    def test_the_negative_prompt_counts(self, engine: Engine) -> None:
        plain, negative = self.picture(engine), self.picture(engine, negative_prompt="blue")
        assert not np.array_equal(plain, negative)

    def test_an_empty_negative_prompt_is_none(self, engine: Engine) -> None:
        assert np.array_equal(self.picture(engine), self.picture(engine, negative_prompt=""))

    def test_guidance_counts(self, engine: Engine) -> None:
        assert not np.array_equal(self.picture(engine), self.picture(engine, guidance_scale=9.0))

    def test_no_guidance_runs(self, engine: Engine) -> None:
        assert self.picture(engine, guidance_scale=0.0).shape == (256, 256, 3)
