"""MusicGen (Copet et al., 2023, arXiv:2306.05284), through audiocraft."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from farm.errors import EngineFault, FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models import weights
from models.base import CPU, EngineSetup, faults
from models.parts import audio, musicgen
from models.parts.memory import released

MUSIC, TEXT = "music", "text"
"""The parts of the card's weights: audiocraft's two files, and the T5 encoder."""


class MusicgenEngine:
    """A :class:`models.base.Engine`: music from words.

    A step is one of the language model's, 50 a second of music and three more at the end,
    since each of the four code books lags one behind the other. The codec then turns all of
    them into sound at once. Sampling is as audiocraft has it: the best 250 codes, guidance 3.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._device = CPU
        self._model: Any = None

    @property
    def served_by(self) -> str:
        """What truly makes the music."""
        return self._setup.served_by

    @property
    def resident_bytes(self) -> int:
        """The device memory that loading took, in bytes; 0 while unloaded."""
        return musicgen.resident_bytes(self._model) if self._model is not None else 0

    def load(self, device: str) -> None:
        """See :meth:`models.base.Engine.load`. Half precision on a GPU, float32 on a CPU."""
        if self._model is not None:
            return
        setup = self._setup
        try:
            with faults(self.served_by, "loading", setup.interrupts):
                music, text = (weights.locate(setup, part).path for part in (MUSIC, TEXT))
                self._model = musicgen.open_musicgen(music, text, device)
                self._device = device
        except BaseException:
            self.unload()  # half a model must not stay on the device
            raise

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One WAV file of exactly the duration asked for."""
        if request.operation != audio.OPERATION:
            raise InvalidRequest([FieldError("operation", f"must be {audio.OPERATION}.")])
        params = audio.AudioParams.read(request.params)
        if self._model is None:
            raise EngineFault(f"The {self.served_by} engine was asked to run before it was loaded.")
        with faults(self.served_by, "running", self._setup.interrupts):
            samples = self._compose(params, on_step)
            return [audio.artifact(audio.levelled(samples), self._model.sample_rate, params)]

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._model = None
        released()

    def _compose(self, params: audio.AudioParams, on_step: OnStep) -> audio.Samples:
        model = self._model
        model.set_generation_params(duration=params.duration)
        model.set_custom_progress_callback(on_step)
        try:
            with (
                musicgen.stand_in_for_xformers(),
                musicgen.on_device(self._device),
                _drawn_from(params.seed, self._device),
            ):
                made = model.generate([params.prompt], progress=True)
        finally:
            model.set_custom_progress_callback(None)
        return np.ascontiguousarray(made[0].float().cpu().numpy().T)


@contextlib.contextmanager
def _drawn_from(seed: int, device: str) -> Iterator[None]:
    """In here torch's own random numbers start at ``seed``: audiocraft takes no generator.
    Outside they go on as if none had been drawn."""
    gpus = [] if device == CPU else [torch.device(device).index]
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield
