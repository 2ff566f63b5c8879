"""What every clip goes through before it is a file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from farm.errors import InvalidRequest
from models.parts import audio
from models.parts.audio import AudioParams, Samples, levelled

PARAMS = AudioParams("a tune", 2, 7)


def tone(loud: float, channels: int = 1, count: int = 64_000) -> Samples:
    wave = loud * np.sin(np.arange(count) * 0.05)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def rms_db(samples: Samples) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(np.square(samples)))))


@pytest.mark.parametrize("loud", [0.001, 0.1, 1.0, 40.0])
def test_every_clip_becomes_as_loud(loud: float) -> None:
    assert rms_db(levelled(tone(loud))) == pytest.approx(audio.RMS_DB, abs=0.01)


def test_a_clip_of_few_loud_moments_stays_below_the_peak() -> None:
    clip = tone(0.01)
    clip[1000] = 3.0
    made = levelled(clip)
    assert np.abs(made).max() == pytest.approx(10 ** (audio.PEAK_DB / 20), rel=1e-4)
    assert rms_db(made) < audio.RMS_DB


def test_silence_stays_silence() -> None:
    assert not levelled(np.zeros((100, 2), np.float32)).any()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_no_sound(wrong: float) -> None:
    clip = tone(0.5)
    clip[5] = wrong
    with pytest.raises(ValueError, match="not finite"):
        levelled(clip)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 63_999, 64_000, 64_640])
def test_a_file_has_exactly_the_samples_of_its_duration(count: int, channels: int) -> None:
    made = audio.artifact(tone(0.5, channels, count), 32_000, PARAMS)
    samples, rate = soundfile.read(io.BytesIO(made.data), always_2d=True)
    assert (samples.shape, rate) == ((64_000, channels), 32_000)
    kept = min(count, 64_000)
    assert np.abs(samples[:kept] - tone(0.5, channels, kept)).max(initial=0) < 1 / 32_000
    assert not samples[kept:].any()


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, ["prompt", "duration", "seed"]),
        ({"prompt": "", "duration": "5", "seed": 1.0}, ["prompt", "duration", "seed"]),
        ({"prompt": "x", "duration": 5, "seed": 1, "key": "C"}, ["key"]),
    ],
)
def test_every_field_that_is_wrong_is_named_at_once(
    params: dict[str, Any], fields: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        AudioParams.read(params)
    assert [error.field for error in caught.value.errors] == fields
