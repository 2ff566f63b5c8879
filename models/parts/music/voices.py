"""Instruments: one note each, from a frequency and a length, as samples.

Plucked strings are Karplus and Strong's (1983, "Digital Synthesis of Plucked-String and Drum
Timbres"), the electric piano is frequency modulation (Chowning, 1973); the others are sums of
harmonics that fade at their own speeds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

RATE = 32_000
"""Samples a second."""

Mono = NDArray[np.float32]
Rng = np.random.Generator
Voice = Callable[[float, float, Rng], Mono]
"""(frequency in Hz, seconds that the key is held, randomness) to samples at RATE."""

_TABLE = 4096
_LOUDNESS = 0.2


def play(name: str, pitch: int, seconds: float, rng: Rng) -> Mono:
    """A note of a voice, as loud as that of any other voice.

    Args:
        pitch: MIDI number.
        seconds: how long it is held; it rings on after that.
    """
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    samples = VOICES[name](frequency, seconds, rng)
    heard = samples[: int(0.5 * RATE)]
    level = float(np.sqrt(np.mean(np.square(heard)))) or 1.0
    return single(samples * np.float32(_LOUDNESS / level))


def single(samples: NDArray[Any]) -> Mono:
    """In the precision that everything is mixed in."""
    return np.asarray(samples, np.float32)


def _times(seconds: float, release: float) -> tuple[Mono, int]:
    count = int((seconds + release) * RATE)
    return single(np.arange(count) / RATE), int(seconds * RATE)


def _shape(seconds: float, attack: float, release: float) -> Mono:
    """Up, held, and down to nothing."""
    time, held = _times(seconds, release)
    up = np.minimum(1.0, time / max(attack, 1e-4))
    down = np.ones_like(time)
    if len(time) > held:
        down[held:] = np.linspace(1, 0, len(time) - held, dtype=np.float32) ** 2
    return single(up * down)


def _struck(
    frequency: float, seconds: float, amplitudes: Sequence[float], fading: float, brighter: float
) -> Mono:
    """Harmonics that fade, the higher the sooner.

    ``fading`` is how fast the whole does, ``brighter`` how much faster each further harmonic,
    both per second.
    """
    time, _ = _times(seconds, 0.25)
    fit = amplitudes[: max(1, int(0.45 * RATE / frequency))]
    turning = np.exp(2j * np.pi * frequency * time.astype(np.float64) - brighter * time).astype(
        np.complex64
    )
    total = np.zeros_like(turning)
    for amplitude in reversed(fit):
        total = (total + np.complex64(amplitude)) * turning
    faded = total.imag * np.exp(-fading * time)
    return single(faded * _shape(seconds, 0.002, 0.25))


@functools.lru_cache(maxsize=256)
def _cycle(kind: str, harmonics: int) -> Mono:
    """One turn of a waveform that has so many harmonics and no more."""
    numbers = np.arange(1, harmonics + 1)
    weights = {
        "saw": 1 / numbers,
        "soft": 1 / numbers**1.6,
        "square": (numbers % 2) / numbers,
        "thin": np.abs(np.sin(np.pi * numbers / 4)) / numbers,
        "triangle": (numbers % 2) / numbers**2,
        "reed": np.where(numbers % 2, 1.0, 0.35) / numbers**1.3,
        "flute": np.resize(np.array([1, 0.32, 0.12, 0.05] + [0.0] * 60), harmonics),
        "organ": np.resize(np.array([1, 0.8, 0.5, 0.5, 0, 0.3, 0, 0.25] + [0.0] * 60), harmonics),
    }[kind]
    turn = np.arange(_TABLE) / _TABLE
    waves = np.sin(2 * np.pi * numbers[:, None] * turn) * weights[:, None]
    return single(waves.sum(axis=0))


def _wave(
    kind: str, frequency: float, count: int, top: int = 40, wobble: Mono | None = None
) -> Mono:
    """A steady tone; ``wobble`` bends its frequency, as a share of it."""
    table = _cycle(kind, max(1, min(top, int(0.45 * RATE / frequency))))
    if wobble is None:
        turns = np.arange(count) * (frequency / RATE)
    else:
        turns = np.cumsum(frequency / RATE * (1 + wobble.astype(np.float64)))
    return single(table[(turns * _TABLE).astype(np.int64) & (_TABLE - 1)])


def _vibrato(time: Mono, depth: float, rng: Rng) -> Mono:
    rate = float(rng.uniform(4.8, 5.6))
    return single(depth * np.minimum(1, time / 0.5) * np.sin(2 * np.pi * rate * time))


def _piano(frequency: float, seconds: float, rng: Rng) -> Mono:
    amplitudes = [1 / k**1.2 for k in range(1, 13)]
    low = (frequency / 220) ** 0.5
    one = _struck(frequency, seconds, amplitudes, 0.9 * low, 0.7 * low)
    # Two strings of a key are never quite in tune.
    other = _struck(frequency * 1.0009, seconds, amplitudes[:6], 0.6 * low, 1.1 * low)
    made = one + 0.5 * other
    knock = min(len(made), int(0.02 * RATE))
    felt = np.convolve(rng.standard_normal(knock), np.ones(8) / 8, "same")
    made[:knock] += 0.2 * single(felt * np.linspace(1, 0, knock))
    return single(made)


def _epiano(frequency: float, seconds: float, rng: Rng) -> Mono:
    time, _ = _times(seconds, 0.3)
    index = 1.4 * np.exp(-2.5 * time) + 0.15
    tine = 0.25 * np.exp(-9 * time) * np.sin(2 * np.pi * 14 * min(frequency, 900) * time)
    tone = np.sin(2 * np.pi * frequency * time + index * np.sin(2 * np.pi * frequency * time))
    return single((tone + tine) * np.exp(-0.9 * time) * _shape(seconds, 0.004, 0.3))


def _pluck(frequency: float, seconds: float, rng: Rng) -> Mono:
    """Noise in a delay line as long as a period, averaged at each turn."""
    period = max(2, int(RATE / frequency))
    tuned = RATE / (period + 0.5)
    count = int((seconds + 0.3) * RATE)
    needed = int(count * frequency / tuned) + 2
    turns = needed // period + 1
    line = np.empty((turns, period), np.float32)
    noise = rng.uniform(-1, 1, period)
    # Plucked with flesh, not with a nail.
    line[0] = np.convolve(np.concatenate([noise[-4:], noise]), np.ones(5) / 5, "valid")
    line[0] -= line[0].mean()
    kept = np.float32(0.5 * 0.5 ** (1 / (frequency * 1.1)))
    for turn in range(1, turns):
        before = line[turn - 1]
        line[turn, 1:] = kept * (before[1:] + before[:-1])
        line[turn, 0] = kept * (before[0] + (line[turn - 2, -1] if turn > 1 else 0.0))
    # The delay line is a whole number of samples; reading it at another speed tunes it.
    places = np.arange(count) * (frequency / tuned)
    string = np.interp(places, np.arange(turns * period), line.ravel())
    return single(string * _shape(seconds, 0.001, 0.3))


def _drive(frequency: float, seconds: float, rng: Rng) -> Mono:
    """An overdriven guitar: string and fifth through a bent curve, the edge taken off."""
    time, _ = _times(seconds, 0.1)
    bend = _vibrato(time, 0.004, rng)
    string = _wave("saw", frequency, len(time), 16, bend)
    string = string + 0.3 * _wave("saw", frequency * 1.5, len(time), 10, bend)
    bent = np.tanh(2.5 * string * (0.35 + np.exp(-1.5 * time)))
    dull = signal.lfilter(*signal.butter(2, 3500, fs=RATE), bent)
    return single(dull * _shape(seconds, 0.004, 0.1))


def _strings(frequency: float, seconds: float, rng: Rng) -> Mono:
    time, _ = _times(seconds, 0.35)
    total = np.zeros_like(time)
    for detune in (0.997, 1.0, 1.0035):
        bend = _vibrato(time, 0.003, rng)
        total += _wave("soft", frequency * detune, len(time), 24, bend)
    return single(total * _shape(seconds, min(0.14, 0.4 * seconds), 0.35))


def _pad(frequency: float, seconds: float, rng: Rng) -> Mono:
    time, _ = _times(seconds, 0.8)
    total = np.zeros_like(time)
    for detune in (0.997, 1.0, 1.0035):
        total += _wave("soft", frequency * detune, len(time), 12)
    moving = 1 + 0.15 * np.sin(2 * np.pi * 0.3 * time + float(rng.uniform(0, 6)))
    return single(total * moving * _shape(seconds, min(0.7, 0.5 * seconds), 0.8))


def _bells(frequency: float, seconds: float, rng: Rng) -> Mono:
    time, _ = _times(max(seconds, 0.8), 0.6)
    total = np.zeros_like(time)
    for ratio, loud, fading in ((1, 1, 1.6), (2.0, 0.4, 2.4), (2.76, 0.35, 3.5), (5.4, 0.2, 6)):
        if frequency * ratio < 0.45 * RATE:
            total += loud * np.exp(-fading * time) * np.sin(2 * np.pi * frequency * ratio * time)
    return single(total * _shape(max(seconds, 0.8), 0.002, 0.6))


def _marimba(frequency: float, seconds: float, rng: Rng) -> Mono:
    time, _ = _times(max(seconds, 0.3), 0.3)
    bar = np.exp(-6 * time) * np.sin(2 * np.pi * frequency * time)
    bar += 0.3 * np.exp(-22 * time) * np.sin(2 * np.pi * 3.93 * frequency * time)
    return single(bar * _shape(max(seconds, 0.3), 0.001, 0.3))


def _flute(frequency: float, seconds: float, rng: Rng) -> Mono:
    time, _ = _times(seconds, 0.12)
    tone = _wave("flute", frequency, len(time), 8, _vibrato(time, 0.004, rng))
    breath = signal.lfilter(
        *signal.butter(1, [1500, 6000], "bandpass", fs=RATE), rng.standard_normal(len(time))
    )
    chiff = 0.05 + 0.25 * np.exp(-18 * time)
    return single((tone + breath * chiff) * _shape(seconds, 0.05, 0.12))


def _blown(kind: str, attack: float, top: int) -> Voice:
    """A wind instrument, which grows bright as it grows loud."""

    def voice(frequency: float, seconds: float, rng: Rng) -> Mono:
        time, _ = _times(seconds, 0.12)
        bend = _vibrato(time, 0.003, rng)
        bright = _wave(kind, frequency, len(time), top, bend)
        dark = _wave(kind, frequency, len(time), 3, bend)
        opened = np.minimum(1, time / (attack * 2.5)) * (0.6 + 0.4 * np.exp(-2 * time))
        made = dark + (bright - dark) * opened
        return single(made * _shape(seconds, attack, 0.12))

    return voice


def _steady(kind: str, attack: float, release: float, top: int, fading: float = 0.0) -> Voice:
    """An electronic tone."""

    def voice(frequency: float, seconds: float, rng: Rng) -> Mono:
        time, _ = _times(seconds, release)
        tone = _wave(kind, frequency, len(time), top)
        if kind == "saw":
            tone = tone + 0.8 * _wave(kind, frequency * 1.006, len(time), top)
        return single(tone * np.exp(-fading * time) * _shape(seconds, attack, release))

    return voice


def _bass(frequency: float, seconds: float, rng: Rng) -> Mono:
    return _struck(frequency, seconds, [1, 0.7, 0.45, 0.3, 0.2, 0.12, 0.08], 0.8, 1.2)


def _sub(frequency: float, seconds: float, rng: Rng) -> Mono:
    time, _ = _times(seconds, 0.15)
    # A second harmonic, for what has small loudspeakers.
    tone = np.sin(2 * np.pi * frequency * time) + 0.25 * np.sin(4 * np.pi * frequency * time)
    return single(np.tanh(1.3 * tone) * _shape(seconds, 0.01, 0.15))


VOICES: Mapping[str, Voice] = {
    "piano": _piano,
    "epiano": _epiano,
    "pluck": _pluck,
    "drive": _drive,
    "strings": _strings,
    "cello": _strings,
    "pad": _pad,
    "bells": _bells,
    "marimba": _marimba,
    "flute": _flute,
    "reed": _blown("reed", 0.04, 16),
    "brass": _blown("saw", 0.05, 14),
    "organ": _steady("organ", 0.01, 0.06, 8),
    "saw": _steady("saw", 0.01, 0.15, 18, 0.6),
    "square": _steady("square", 0.002, 0.02, 31, 1.0),
    "pulse": _steady("thin", 0.002, 0.02, 31, 2.0),
    "triangle": _steady("triangle", 0.002, 0.02, 15),
    "bass": _bass,
    "sub": _sub,
    "synthbass": _steady("saw", 0.004, 0.05, 12, 2.0),
}
"""Each voice by its name."""
