"""MusicGen (Copet et al., 2023, arXiv:2306.05284), through audiocraft."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from farm.errors import FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models import weights
from models.base import CPU, faults
from models.parts import audio, musicgen
from models.parts.loaded_engine import LoadedEngine

MUSIC, TEXT = "music", "text"
"""The parts of the card's weights: audiocraft's two files, and the T5 encoder."""


@dataclass(frozen=True, slots=True)
class _Music:
    """An ``audiocraft.models.MusicGen``, and where it lies."""

    network: Any
    device: str


class MusicgenEngine(LoadedEngine[_Music]):
    """A :class:`models.base.Engine`: music from words.

    A step is one of the language model's, 50 a second of music and three more at the end,
    since each of the four code books lags one behind the other. The codec then turns all of
    them into sound at once. Sampling is as audiocraft has it: the best 250 codes, guidance 3.
    """

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One WAV file of exactly the duration asked for."""
        if request.operation != audio.OPERATION:
            raise InvalidRequest([FieldError("operation", f"must be {audio.OPERATION}.")])
        params = audio.AudioParams.read(request.params)
        model = self._loaded()
        with faults(self.served_by, "running", self._setup.interrupts):
            samples = _composed(model, params, on_step)
            return [audio.artifact(audio.levelled(samples), model.network.sample_rate, params)]

    def _open(self, device: str) -> _Music:
        """Half precision on a GPU, float32 on a CPU."""
        music, text = (weights.locate(self._setup, part).path for part in (MUSIC, TEXT))
        return _Music(musicgen.open_musicgen(music, text, device), device)

    def _size(self, model: _Music) -> int:
        return musicgen.resident_bytes(model.network)


def _composed(music: _Music, params: audio.AudioParams, on_step: OnStep) -> audio.Samples:
    network = music.network
    network.set_generation_params(duration=params.duration)
    network.set_custom_progress_callback(on_step)
    try:
        with (
            musicgen.stand_in_for_xformers(),
            musicgen.on_device(music.device),
            _drawn_from(params.seed, music.device),
        ):
            made = network.generate([params.prompt], progress=True)
    finally:
        network.set_custom_progress_callback(None)
    return np.ascontiguousarray(made[0].float().cpu().numpy().T)


@contextlib.contextmanager
def _drawn_from(seed: int, device: str) -> Iterator[None]:
    """In here torch's own random numbers start at ``seed``: audiocraft takes no generator.
    Outside they go on as if none had been drawn."""
    gpus = [] if device == CPU else [torch.device(device).index]
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield
