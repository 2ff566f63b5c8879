"""From bars to a finished clip: players in their places, a room around them, an even level."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from models.parts.audio import Samples, levelled
from models.parts.music.drums import strike
from models.parts.music.score import Bar, Hit, Note
from models.parts.music.styles import Style
from models.parts.music.voices import RATE, Mono, play

_PLACES: Mapping[str, tuple[float, float]] = {
    "melody": (0.85, 0.12),
    "chords": (0.42, -0.22),
    "pad": (0.2, 0.0),
    "bass": (0.62, 0.0),
}
"""Loudness of each role, and its place from -1 (left) to 1 (right)."""
_DRUM_PLACES: Mapping[str, tuple[float, float]] = {
    "kick": (0.62, 0.0),
    "snare": (0.48, 0.05),
    "clap": (0.4, -0.05),
    "rim": (0.35, 0.2),
    "hat": (0.2, 0.35),
    "shaker": (0.14, -0.4),
    "ride": (0.18, 0.4),
    "crash": (0.25, -0.3),
    "tom": (0.6, -0.15),
}
_ROOM_S = 1.6
_FADE_S = 1.5
_DRUMS_IN_ROOM = 0.3
_WORKING_RMS = 0.17
_SAMPLE_TOLERANCE = 20
"""Notes of one pitch and length, to a part of a second, are played once and used again."""


class Desk:
    """Mixes a piece bar by bar; the same bars, style and randomness give the same samples."""

    def __init__(self, style: Style, seconds: float, rng: np.random.Generator) -> None:
        self._style = style
        self._rng = rng
        self._count = round(seconds * RATE)
        self._dry = np.zeros((self._count, 2), np.float32)
        self._sent = np.zeros(self._count, np.float32)
        self._notes: dict[tuple[str, int, int], Mono] = {}
        self._strokes: dict[str, Mono] = {}

    def add(self, bar: Bar) -> None:
        """Let one bar be heard."""
        for note in bar.notes:
            self._note(note)
        for hit in bar.hits:
            self._hit(hit)

    def finished(self) -> Samples:
        """The whole clip, with its room, its ending and its level; samples x 2."""
        mixed = self._dry + self._room()
        if self._style.dull:
            mixed = self._worn(mixed)
        low = signal.butter(2, 32, "highpass", fs=RATE, output="sos")
        mixed = np.asarray(signal.sosfilt(low, mixed, axis=0), np.float32)
        level = float(np.sqrt(np.mean(np.square(mixed)))) or 1.0
        # Loud moments are bent, not cut.
        mixed = np.tanh(mixed * np.float32(_WORKING_RMS / level))
        return levelled(mixed * self._fade()[:, None])

    def _note(self, note: Note) -> None:
        name = {
            "melody": self._style.melody,
            "chords": self._style.chords,
            "pad": self._style.pad,
            "bass": self._style.bass,
        }[note.role]
        assert name is not None, "a role without a player plays nothing"
        key = (name, note.pitch, max(1, round(note.seconds * _SAMPLE_TOLERANCE)))
        if key not in self._notes:
            self._notes[key] = play(name, note.pitch, key[2] / _SAMPLE_TOLERANCE, self._rng)
        loud, place = _PLACES[note.role]
        sent = 0.25 if note.role == "bass" else 1.0
        self._put(self._notes[key], note.start, loud * note.velocity, place, sent)

    def _hit(self, hit: Hit) -> None:
        if hit.drum not in self._strokes:
            self._strokes[hit.drum] = strike(hit.drum, self._rng)
        loud, place = _DRUM_PLACES[hit.drum]
        energy = 0.6 + 0.5 * self._style.energy
        self._put(
            self._strokes[hit.drum], hit.start, loud * hit.velocity * energy, place, _DRUMS_IN_ROOM
        )

    def _put(self, sound: Mono, start: float, loud: float, place: float, sent: float) -> None:
        begin = int(start * RATE)
        sound = sound[: max(0, self._count - begin)] * np.float32(loud)
        until = begin + len(sound)
        angle = (place + 1) * np.pi / 4
        self._dry[begin:until, 0] += sound * np.float32(np.cos(angle) * np.sqrt(2))
        self._dry[begin:until, 1] += sound * np.float32(np.sin(angle) * np.sqrt(2))
        self._sent[begin:until] += sound * np.float32(sent)

    def _room(self) -> NDArray[np.float32]:
        """The echo: noise that dies away, another one for each ear."""
        time = np.arange(int(_ROOM_S * (0.5 + self._style.room) * RATE)) / RATE
        dying = np.exp(-6.9 * time / time[-1]) * np.minimum(1, time / 0.012)
        band = signal.butter(1, [250, 6000], "bandpass", fs=RATE, output="sos")
        ears = []
        for _ in range(2):
            walls = signal.sosfilt(band, self._rng.standard_normal(len(time))) * dying
            walls *= self._style.room / np.sqrt(np.sum(walls**2))
            ears.append(signal.oaconvolve(self._sent, walls.astype(np.float32))[: self._count])
        return np.stack(ears, axis=1).astype(np.float32)

    def _worn(self, mixed: NDArray[np.float32]) -> NDArray[np.float32]:
        """As from an old record: no treble, a little crackle."""
        dull = signal.butter(2, 4200, fs=RATE, output="sos")
        mixed = np.asarray(signal.sosfilt(dull, mixed, axis=0), np.float32)
        specks = self._rng.integers(0, self._count, self._count // 6000)
        mixed[specks] += self._rng.normal(0, 0.04, (len(specks), 1)).astype(np.float32)
        return mixed

    def _fade(self) -> NDArray[np.float32]:
        shape = np.ones(self._count, np.float32)
        fading = min(self._count // 2, int(_FADE_S * RATE))
        shape[-fading:] = np.cos(np.linspace(0, np.pi / 2, fading, dtype=np.float32)) ** 2
        return shape
