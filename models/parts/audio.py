"""What every engine that makes sound shares: its parameters, a finished file's level, the file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from farm.errors import FieldError, InvalidRequest
from farm.types import Artifact

OPERATION = "audio"
DURATION_MAX_S = 30
SEED_MAX = 2**32 - 1
RMS_DB = -16.0
"""How loud a clip is, as the root mean square of all its samples, in dB of full scale."""
PEAK_DB = -1.0
"""The highest a sample may stand, in dB of full scale."""
_FULL_SCALE = 32767
_SILENCE = 1e-6

Samples = NDArray[np.float32]
"""Samples x channels, full scale is 1."""


@dataclass(frozen=True, slots=True)
class AudioParams:
    """What a clip is made from.

    The catalogue's ranges were checked at submit. This checks what would break or mislead an
    engine, whatever the catalogue says.
    """

    prompt: str
    duration: int
    seed: int

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Read a request's parameters.

        Raises:
            InvalidRequest: naming each one that is missing, unknown, or unusable.
        """
        known = ("prompt", "duration", "seed")
        errors = [FieldError(name, "is required.") for name in known if name not in params]
        errors += [
            FieldError(name, "is not used by this engine.") for name in params if name not in known
        ]
        errors += [
            FieldError(name, problem)
            for name, value in params.items()
            if (problem := _problem(name, value))
        ]
        if errors:
            raise InvalidRequest(errors)
        return cls(**params)


def _problem(name: str, value: Any) -> str | None:
    if name == "prompt":
        if not isinstance(value, str):
            return "must be text."
        return None if value.strip() else "must not be empty."
    bounds = {"duration": (1, DURATION_MAX_S), "seed": (0, SEED_MAX)}
    if name not in bounds:
        return None
    low, high = bounds[name]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        return f"must be a whole number from {low} to {high}."
    return None


def fitted(samples: Samples, length: int) -> Samples:
    """Exactly ``length`` samples a channel: the end is cut off, or silence is added there."""
    short = max(0, length - len(samples))
    return np.pad(samples[:length], ((0, short), (0, 0)))


def levelled(samples: Samples, rms_db: float = RMS_DB, peak_db: float = PEAK_DB) -> Samples:
    """The clip as loud as is wanted, less where a sample would stand above the peak.

    The level changes evenly, so nothing is distorted; silence stays silence.

    Raises:
        ValueError: a sample is no finite number.
    """
    if not np.isfinite(samples).all():
        raise ValueError("what the model made is no sound: samples are not finite numbers")
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < _SILENCE:
        return np.zeros_like(samples)
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    gain = min(10 ** (rms_db / 20) / rms, 10 ** (peak_db / 20) / peak)
    return (samples * np.float32(gain)).astype(np.float32)


def artifact(samples: Samples, rate: int, params: AudioParams) -> Artifact:
    """The finished WAV file (PCM, 16 bits), of exactly the duration asked for.

    Args:
        samples: samples x channels, within -1 to 1.
        rate: samples a second.
    """
    fitting = fitted(samples, params.duration * rate)
    whole = np.round(np.clip(fitting, -1, 1) * _FULL_SCALE).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, whole, rate, format="WAV", subtype="PCM_16")
    facts = {"seed": params.seed, "duration_s": params.duration, "sample_rate": rate}
    return Artifact(buffer.getvalue(), "audio/wav", "audio", "wav", facts)
