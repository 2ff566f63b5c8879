"""Composing: from a brief to the notes and drum hits of each bar.

Chords follow one of the mode's usual progressions, a melody is two motifs that are repeated
over them in the form A A B A, and the last bar rests on the tonic.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.parts.music import patterns
from models.parts.music.styles import (
    BLUES_PROGRESSION,
    JAZZ_PROGRESSIONS,
    MODES,
    PROGRESSIONS,
    STYLES,
    Style,
)
from models.parts.music.words import Brief

ENDING_S = 2.4
"""How long the last chord rings."""
_ENDING_LEAST_S = 1.6
_TEMPO_FREEDOM = 0.12
_PHRASE = 4
_FORM = "AABA"
_MELODY_LOW, _MELODY_HIGH = 3, 12
_CHORDS_LOW = 54
_BASS_LOW = 31


class Note(NamedTuple):
    """Start and length in seconds, pitch in MIDI numbers (69 is 440 Hz), velocity 0 to 1."""

    start: float
    seconds: float
    pitch: int
    velocity: float
    role: str


class Hit(NamedTuple):
    """A drum that is struck; start in seconds, velocity 0 to 1."""

    start: float
    drum: str
    velocity: float


@dataclass(frozen=True, slots=True)
class Bar:
    """What starts within one bar."""

    notes: tuple[Note, ...]
    hits: tuple[Hit, ...]


class _Tone(NamedTuple):
    """A part of a motif: start and length in beats, and degrees above the one before."""

    start: float
    beats: float
    step: int


_Motif = tuple[_Tone, ...]


def compose(brief: Brief, seconds: float, rng: np.random.Generator) -> tuple[Bar, ...]:
    """The bars of a piece that ends within this time; at least two.

    A tempo that was stated is kept; another one changes a little, so that the closing chord
    has just the time to ring. A bar that would be cut short is not begun.
    """
    style = brief.style
    if style.beats == 4 and 2 * style.beats * 60 / style.bpm > seconds:
        style = dataclasses.replace(style, beats=2)  # else there would be but one chord
    bar_s = style.beats * 60 / style.bpm
    before_end = max(1, math.floor((seconds - _ENDING_LEAST_S) / bar_s))
    if not brief.tempo_stated:
        fitting = max(1, round((seconds - ENDING_S) / bar_s))
        change = bar_s * fitting / (seconds - ENDING_S)
        if abs(change - 1) < _TEMPO_FREEDOM:
            before_end = fitting
            style = dataclasses.replace(style, bpm=style.bpm * change)
    composer = _Composer(dataclasses.replace(brief, style=style), rng, before_end)
    return tuple(composer.bar(number) for number in range(before_end + 1))


class _Composer:
    """Writes a piece bar by bar; it remembers where the melody is."""

    def __init__(self, brief: Brief, rng: np.random.Generator, before_end: int) -> None:
        style = self._style = brief.style
        self._rng = rng
        self._before_end = before_end
        self._beat_s = 60 / style.bpm
        self._steps = MODES[style.mode]
        self._tonic = 60 + brief.tonic - (12 if brief.tonic > 8 else 0)
        self._chords = {section: _progression(style, rng) for section in "AB"}
        self._motifs = {name: _motif(style, rng) for name in ("A0", "A1", "B0", "B1")}
        self._place = int(rng.integers(5, 9))

    def bar(self, number: int) -> Bar:
        """The bar of this number, from 0; the one after the last is the ending."""
        if number >= self._before_end:
            return self._ending(number)
        section = _FORM[number // _PHRASE % len(_FORM)]
        chords = self._chords[section]
        degree = chords[number % len(chords)]
        notes = [*self._comp(number, degree), *self._bass(number, degree)]
        if self._style.pad:
            whole = self._style.beats * 1.02
            notes += [self._note(number, 0, whole, p, 0.5, "pad") for p in self._voicing(degree)]
        notes += self._melody(number, section, degree)
        return Bar(tuple(notes), tuple(self._drums(number)))

    def _pitch(self, place: int, degree: int) -> int:
        """The pitch of a scale's step. Over a minor key's dominant the seventh is raised."""
        octave, step = divmod(place, 7)
        leading = self._style.mode == "minor" and degree == 4 and step == 6
        return self._tonic + 12 * octave + self._steps[step] + leading

    def _voicing(self, degree: int) -> list[int]:
        """A chord's tones, all within one octave: from chord to chord they move least so."""
        tones = (0, 2, 4, 6) if self._style.sevenths else (0, 2, 4)
        pitches = (self._pitch(degree + tone, degree) for tone in tones)
        return sorted(_CHORDS_LOW + (pitch - _CHORDS_LOW) % 12 for pitch in pitches)

    def _seconds(self, number: int, beat: float, late: bool = True) -> float:
        swung = self._style.swing * 0.5 if beat % 1 == 0.5 else 0.0
        loose = float(self._rng.normal(0, 0.006)) if late and self._style.loose else 0.0
        whole = (number * self._style.beats + beat + swung) * self._beat_s
        return max(0.0, whole + loose)

    def _note(
        self, number: int, beat: float, beats: float, pitch: int, velocity: float, role: str
    ) -> Note:
        accent = 1.0 if beat % 1 == 0 else 0.86
        loud = velocity * accent * float(self._rng.uniform(0.9, 1.05))
        return Note(self._seconds(number, beat), beats * self._beat_s, pitch, loud, role)

    def _comp(self, number: int, degree: int) -> Iterator[Note]:
        if self._style.chords is None:
            return
        voicing = self._voicing(degree)
        for stroke in patterns.comp(self._style.comp, self._style.beats, number):
            chosen = voicing if stroke.tone is None else [voicing[stroke.tone % len(voicing)]]
            up = 12 if stroke.tone is not None and stroke.tone >= len(voicing) else 0
            for place, pitch in enumerate(chosen):
                note = self._note(
                    number, stroke.beat, stroke.beats, pitch + up, stroke.velocity, "chords"
                )
                # A hand runs across the strings.
                strummed = 0.012 * place if self._style.comp == "strum" else 0.0
                yield note._replace(start=note.start + strummed)

    def _bass(self, number: int, degree: int) -> Iterator[Note]:
        if self._style.bass is None:
            return
        root = _BASS_LOW + (self._pitch(degree, degree) - _BASS_LOW) % 12
        next_degree = self._chords["A"][(number + 1) % len(self._chords["A"])]
        ahead = _BASS_LOW + (self._pitch(next_degree, next_degree) - _BASS_LOW) % 12
        third, fifth = (root + (self._pitch(degree + up, degree) - root) % 12 for up in (2, 4))
        tones = {"root": root, "third": third, "fifth": fifth, "octave": root + 12}
        tones["lead"] = ahead + (1 if ahead < root else -1)
        for stroke in patterns.bass(self._style.line, self._style.beats):
            pitch = tones[stroke.tone]
            yield self._note(number, stroke.beat, stroke.beats, pitch, stroke.velocity, "bass")

    def _melody(self, number: int, section: str, degree: int) -> Iterator[Note]:
        resting = number == 0 and self._before_end >= 6
        if self._style.melody is None or resting:
            return
        for tone in self._motifs[f"{section}{number % 2}"]:
            self._place = _reflected(self._place + tone.step)
            strong = tone.start % 1 == 0
            if strong:
                self._place = _nearest(self._place, degree)
            closing = number % _PHRASE == _PHRASE - 1 and tone.start >= self._style.beats / 2
            pitch = self._pitch(self._place, degree)
            length = self._style.beats - tone.start if closing else tone.beats
            yield self._note(number, tone.start, length * 0.95, pitch, 0.8, "melody")
            if closing:
                return

    def _drums(self, number: int) -> Iterator[Hit]:
        if self._style.drums is None:
            return
        intro = number == 0 and self._before_end >= 6
        fill = number % _PHRASE == _PHRASE - 1 or number == self._before_end - 1
        for stroke in patterns.drums(self._style.drums, self._style.beats, fill and not intro):
            if intro and stroke.drum not in ("hat", "ride", "shaker"):
                continue
            loud = stroke.velocity * float(self._rng.uniform(0.82, 1.0))
            yield Hit(self._seconds(number, stroke.beat, late=False), stroke.drum, loud)

    def _ending(self, number: int) -> Bar:
        long = max(self._style.beats, 2 * ENDING_S / self._beat_s)
        notes = []
        if self._style.chords:
            notes += [self._note(number, 0, long, p, 0.7, "chords") for p in self._voicing(0)]
        if self._style.pad:
            notes += [self._note(number, 0, long, p, 0.5, "pad") for p in self._voicing(0)]
        if self._style.bass:
            root = _BASS_LOW + (self._tonic - _BASS_LOW) % 12
            notes.append(self._note(number, 0, long, root, 0.8, "bass"))
        if self._style.melody:
            home = self._pitch(7 * round(self._place / 7), 0)
            notes.append(self._note(number, 0, long, home, 0.8, "melody"))
        struck = patterns.CLOSING if self._style.drums else ()
        at = self._seconds(number, 0, late=False)
        return Bar(tuple(notes), tuple(Hit(at, drum, 0.8) for drum in struck))


def _progression(style: Style, rng: np.random.Generator) -> tuple[int, ...]:
    if style.drums == "shuffle":
        return BLUES_PROGRESSION
    jazzy = style.sevenths and style.mode == "major" and style.comp == STYLES["jazz"].comp
    choices = JAZZ_PROGRESSIONS if jazzy else PROGRESSIONS[style.mode]
    return choices[int(rng.integers(len(choices)))]


def _motif(style: Style, rng: np.random.Generator) -> _Motif:
    """One bar of melody: a rhythm from the style's energy, and a line that mostly steps."""
    tones: list[_Tone] = []
    beat = 0.0
    while beat < style.beats:
        cells = patterns.melody_cells(style.energy, style.beats - beat)
        cell = cells[int(rng.integers(len(cells)))]
        for length in cell:
            step = int(rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 4]))
            if length > 0:
                tones.append(_Tone(beat, length, step))
            beat += abs(length)
    return tuple(tones) or (_Tone(0.0, float(style.beats), 0),)


def _nearest(place: int, degree: int) -> int:
    """The closest step of the scale that belongs to the chord."""
    offsets = sorted(range(-3, 4), key=abs)
    return next(place + off for off in offsets if (place + off - degree) % 7 in (0, 2, 4))


def _reflected(place: int) -> int:
    """Back into the melody's range, as far inside as it was outside."""
    if place > _MELODY_HIGH:
        return 2 * _MELODY_HIGH - place
    return 2 * _MELODY_LOW - place if place < _MELODY_LOW else place
