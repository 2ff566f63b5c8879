"""A synthesizer that plays what the words ask for: the CPU twin of MusicGen."""

from __future__ import annotations

import hashlib

import numpy as np

from farm.errors import FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models.base import faults
from models.parts import audio
from models.parts.music.mix import Desk
from models.parts.music.score import compose
from models.parts.music.voices import RATE
from models.parts.music.words import understood
from models.parts.plain_engine import PlainEngine


class SynthEngine(PlainEngine):
    """A :class:`models.base.Engine` without weights: composes by rule, plays by arithmetic.

    It knows words for styles, tempi, keys, moods and instruments, and takes any other word as
    a reason to choose differently. Stereo; a step is a bar.
    """

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One WAV file of exactly the duration asked for."""
        if request.operation != audio.OPERATION:
            raise InvalidRequest([FieldError("operation", f"must be {audio.OPERATION}.")])
        params = audio.AudioParams.read(request.params)
        self._check_loaded()
        with faults(self.served_by, "running", self._setup.interrupts):
            return [audio.artifact(_played(params, on_step), RATE, params)]


def _played(params: audio.AudioParams, on_step: OnStep) -> audio.Samples:
    """Prompt and seed to samples x 2; each of both changes everything that is drawn."""
    digest = hashlib.sha256(params.prompt.encode("utf-8", "surrogatepass")).digest()
    rng = np.random.default_rng([params.seed, *digest])
    brief = understood(params.prompt, rng)
    bars = compose(brief, params.duration, rng)
    desk = Desk(brief.style, params.duration, rng)
    for number, bar in enumerate(bars, 1):
        desk.add(bar)
        on_step(number, len(bars))
    return desk.finished()
