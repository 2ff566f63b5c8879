"""An engine that does nothing, so that what is measured is all that surrounds an engine."""

from __future__ import annotations

import os
import time

from farm.types import Artifact, OnStep, RunRequest
from models.base import EngineSetup

RESIDENT_BYTES = 1 << 30


class Nothing:
    """Takes BENCH_JOB_S seconds for a job (0 by default) and makes ten bytes."""

    def __init__(self, setup: EngineSetup) -> None:
        self.served_by = setup.served_by
        self.resident_bytes = 0
        self._seconds = float(os.environ.get("BENCH_JOB_S", "0"))

    def load(self, device: str) -> None:
        """Pretend to hold a gibibyte, so that a budget can say how many models fit."""
        self.resident_bytes = RESIDENT_BYTES

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """One step of one."""
        time.sleep(self._seconds)
        on_step(1, 1)
        return [Artifact(b"no picture", "image/png", "images", "png", {"seed": 7})]

    def unload(self) -> None:
        """Hold nothing."""
        self.resident_bytes = 0
