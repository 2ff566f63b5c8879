"""The FLUX engine on its tiny checkpoint."""

from __future__ import annotations

import numpy as np

from models.base import Engine
from tests.contracts.engine import EngineContract


class TestFluxSchnell(EngineContract):
    model_id = "flux-schnell"
    steps = 2

    def test_a_single_step_runs(self, engine: Engine) -> None:
        assert self.picture(engine, steps=1).shape == (512, 512, 3)

    def test_words_past_the_clip_encoders_reach_still_count(self, engine: Engine) -> None:
        start = "a fox " * 40
        assert not np.array_equal(
            self.picture(engine, prompt=start + "at night"),
            self.picture(engine, prompt=start + "in summer"),
        )
