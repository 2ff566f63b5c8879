"""Drums: each one stroke, as samples. Skins are falling tones, metal and snares are noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import signal

from models.parts.music.voices import RATE, Mono, Rng, single

Drum = Callable[[Rng], Mono]


def strike(name: str, rng: Rng) -> Mono:
    """One stroke of a drum, at most 1 high."""
    samples = DRUMS[name](rng)
    return single(samples / max(float(np.abs(samples).max()), 1e-6))


def _time(seconds: float) -> Mono:
    return single(np.arange(int(seconds * RATE)) / RATE)


def _noise(time: Mono, rng: Rng, low: float, high: float) -> Mono:
    """Noise between two frequencies in Hz."""
    band = signal.butter(2, [low, min(high, 0.49 * RATE)], "bandpass", fs=RATE, output="sos")
    return single(signal.sosfilt(band, rng.standard_normal(len(time))))


def _skin(time: Mono, start: float, end: float, falling: float) -> Mono:
    """A tone that falls from ``start`` to ``end`` Hz."""
    frequency = end + (start - end) * np.exp(-falling * time)
    return single(np.sin(2 * np.pi * np.cumsum(frequency) / RATE))


def _kick(rng: Rng) -> Mono:
    time = _time(0.4)
    click = 0.3 * np.exp(-200 * time) * _noise(time, rng, 1500, 8000)
    return single(_skin(time, 160, 48, 28) * np.exp(-9 * time) + click)


def _snare(rng: Rng) -> Mono:
    time = _time(0.3)
    wires = _noise(time, rng, 1200, 9000) * np.exp(-16 * time)
    return single(0.5 * _skin(time, 260, 185, 40) * np.exp(-18 * time) + wires)


def _rim(rng: Rng) -> Mono:
    time = _time(0.12)
    knock = np.sin(2 * np.pi * 820 * time) + 0.6 * np.sin(2 * np.pi * 1730 * time)
    return single(knock * np.exp(-60 * time))


def _clap(rng: Rng) -> Mono:
    time = _time(0.3)
    hands = np.zeros_like(time)
    for late in (0.0, 0.011, 0.022, 0.03):
        after = np.maximum(0, time - late)
        hands += np.where(time >= late, np.exp(-(30 if late == 0.03 else 180) * after), 0)
    return single(_noise(time, rng, 800, 4500) * hands)


def _metal(seconds: float, fading: float, low: float, high: float) -> Drum:
    def drum(rng: Rng) -> Mono:
        time = _time(seconds)
        return single(_noise(time, rng, low, high) * np.exp(-fading * time))

    return drum


def _ride(rng: Rng) -> Mono:
    time = _time(0.7)
    ping = sum(np.sin(2 * np.pi * f * time) for f in (3170, 4310, 5290, 6710))
    hiss = _noise(time, rng, 5000, 12000) * np.exp(-7 * time)
    return single(0.12 * ping * np.exp(-9 * time) + hiss)


def _tom(rng: Rng) -> Mono:
    time = _time(0.6)
    return single(_skin(time, 150, 92, 14) * np.exp(-6 * time))


DRUMS: Mapping[str, Drum] = {
    "kick": _kick,
    "snare": _snare,
    "rim": _rim,
    "clap": _clap,
    "hat": _metal(0.09, 55, 6500, 14000),
    "shaker": _metal(0.12, 30, 4500, 10000),
    "crash": _metal(1.6, 2.6, 3000, 14000),
    "ride": _ride,
    "tom": _tom,
}
"""Each drum by its name."""
