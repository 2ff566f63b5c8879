"""What the words of a prompt ask of the music: style, tempo, key, mood, players."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from models.parts.music.styles import GENRE_WORDS, MODES, POP, STYLES, Style

BPM_MIN, BPM_MAX = 40, 220
_STATED_BPM = re.compile(r" (\d{2,3}) ?(?:bpm|beats per minute)(?= )")
_PITCH_CLASSES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTALS = {"#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_MODE_NAMES = {"maj": "major", "min": "minor", **{mode: mode for mode in MODES}}

_TEMPO_WORDS: Mapping[str, float] = {
    "largo": 52, "adagio": 68, "andante": 88, "moderato": 108, "allegro": 134, "presto": 176,
}  # fmt: skip
_PACE_WORDS: Mapping[str, float] = {
    "slow": 0.75, "slowly": 0.75, "calm": 0.85, "relaxing": 0.85, "relaxed": 0.85,
    "peaceful": 0.85, "gentle": 0.9, "soft": 0.92, "sleepy": 0.75, "downtempo": 0.8,
    "fast": 1.3, "quick": 1.25, "upbeat": 1.12, "energetic": 1.15, "driving": 1.12,
    "sad": 0.82, "melancholic": 0.82, "gloomy": 0.82, "dreamy": 0.85, "frantic": 1.4,
    "racing": 1.35, "lively": 1.15, "exciting": 1.15,
}  # fmt: skip
_ENERGY_WORDS: Mapping[str, float] = {
    "calm": -0.25, "relaxing": -0.25, "relaxed": -0.2, "peaceful": -0.25, "gentle": -0.25,
    "soft": -0.2, "sleepy": -0.3, "quiet": -0.25, "minimal": -0.2, "slow": -0.1,
    "fast": 0.15, "energetic": 0.25, "driving": 0.2, "powerful": 0.2, "intense": 0.25,
    "loud": 0.2, "heavy": 0.2, "upbeat": 0.15, "frantic": 0.3, "exciting": 0.2,
}  # fmt: skip
_MOOD_WORDS: Mapping[str, str] = {
    "happy": "major", "joyful": "major", "cheerful": "major", "uplifting": "major",
    "bright": "major", "sunny": "major", "triumphant": "major", "romantic": "major",
    "sad": "minor", "melancholic": "minor", "melancholy": "minor", "dark": "minor",
    "gloomy": "minor", "lonely": "minor", "sorrowful": "minor", "dramatic": "minor",
    "moody": "minor", "rainy": "minor", "scary": "phrygian", "tense": "phrygian",
    "ominous": "phrygian", "horror": "phrygian", "oriental": "phrygian", "spanish": "phrygian",
    "dreamy": "lydian", "magical": "lydian", "wonder": "lydian", "space": "lydian",
    "mysterious": "dorian", "medieval": "dorian", "groovy": "mixolydian",
}  # fmt: skip
_VOICE_WORDS: Mapping[str, str] = {
    "electric piano": "epiano", "rhodes": "epiano", "keys": "epiano", "piano": "piano",
    "electric guitar": "drive", "distorted guitar": "drive", "guitar solo": "drive",
    "guitar": "pluck", "ukulele": "pluck", "harp": "pluck", "banjo": "pluck", "lute": "pluck",
    "sitar": "pluck", "koto": "pluck", "mandolin": "pluck", "strings": "strings",
    "violin": "strings", "viola": "strings", "cello": "strings", "pad": "pad", "choir": "pad",
    "bell": "bells", "chime": "bells", "glockenspiel": "bells", "celesta": "bells",
    "music box": "bells", "vibraphone": "bells", "marimba": "marimba", "xylophone": "marimba",
    "kalimba": "marimba", "flute": "flute", "whistle": "flute", "recorder": "flute",
    "saxophone": "reed", "sax": "reed", "clarinet": "reed", "oboe": "reed", "organ": "organ",
    "accordion": "organ", "synth": "saw", "synthesizer": "saw", "lead synth": "saw",
    "trumpet": "brass", "brass": "brass", "horn": "brass", "trombone": "brass",
    "8 bit": "square", "chiptune": "square",
}  # fmt: skip
_DRUM_WORDS = ("drum", "beat", "percussion", "808", "kick", "snare")
_BASS_WORDS = ("bass", "bassline", "sub bass")


@dataclass(frozen=True, slots=True)
class Brief:
    """What is to be played: a style with all that the words changed, and a key.

    ``tonic`` is a pitch class, 0 is C. A tempo that was not stated may be fitted to the time
    there is.
    """

    style: Style
    tonic: int
    tempo_stated: bool = False


def understood(prompt: str, rng: np.random.Generator) -> Brief:
    """What a prompt asks for; what it leaves open is drawn or the style's own."""
    unwanted = set(re.findall(r"\b(?:no|without|minus)\s+([\w-]+)", prompt.lower()))
    kept = re.sub(r"\b(?:[Nn]o|[Ww]ithout|[Mm]inus)\s+[\w-]+", " ", prompt)
    text = _plain(kept)
    genre = next(iter(_found(text, GENRE_WORDS)), None)
    style = STYLES[GENRE_WORDS[genre]] if genre else POP
    style = _players(style, text, bool(genre), unwanted)
    tonic, mode = _key(kept)
    mode = mode or _mode_of_mood(text) or style.mode
    energy = style.energy + sum(_ENERGY_WORDS[word] for word in _found(text, _ENERGY_WORDS))
    style = dataclasses.replace(
        style, mode=mode, energy=min(1.0, max(0.05, energy)), bpm=_bpm(text, style, rng)
    )
    drawn = int(rng.integers(12))
    return Brief(style, drawn if tonic is None else tonic, bool(_STATED_BPM.search(text)))


def _plain(prompt: str) -> str:
    return f" {' '.join(re.findall(r'[a-z0-9]+', prompt.lower()))} "


def _found(text: str, words: Iterable[str]) -> list[str]:
    """Those of the words and phrases that are in the text, the first first; of two that start
    at the same place the longer one, and none inside another."""
    places = [
        (match.start(), -len(word), word)
        for word in words
        for match in re.finditer(rf"(?<= ){re.escape(word)}s?(?= )", text)
    ]
    found: list[str] = []
    taken = -1
    for start, length, word in sorted(places):
        if start >= taken:
            found.append(word)
            taken = start - length
    return found


def _bpm(text: str, style: Style, rng: np.random.Generator) -> float:
    varied = style.bpm * float(rng.uniform(0.97, 1.03))
    stated = _STATED_BPM.search(text)
    if stated:
        return float(min(BPM_MAX, max(BPM_MIN, int(stated[1]))))
    for word in _found(text, _TEMPO_WORDS):
        return _TEMPO_WORDS[word]
    for word in _found(text, _PACE_WORDS):
        varied *= _PACE_WORDS[word]
    return min(200.0, max(48.0, varied))


def _mode_of_mood(text: str) -> str | None:
    named = next(iter(_found(text, ("major", "minor", *MODES))), None)
    mood = next(iter(_found(text, _MOOD_WORDS)), None)
    return named or (_MOOD_WORDS[mood] if mood else None)


def _key(prompt: str) -> tuple[int | None, str | None]:
    """(tonic, mode) where the prompt states a key. "In a minor key" states none, "in A minor"
    does: a small letter counts after "key of" only."""
    modes = "|".join(_MODE_NAMES)
    note = r"([A-G]|(?<=[Kk]ey of )[a-g])[ -]?(#|♯|♭|b(?![a-z])|[Ss]harp|[Ff]lat)?"
    whole = re.search(rf"\b{note}[ -]({modes}|{modes.title()})\b(?! key| chord| mood)", prompt)
    alone = rf"(?<=[Kk]ey of ){note}(?![a-z])|(?<=\b[Ii]n ){note}(?= *(?:$|[,.;:!?]))"
    found = whole or re.search(alone, prompt)
    if found is None:
        return None, None
    letter, sign = (found[1], found[2]) if found[1] else (found[3], found[4])
    tonic = (_PITCH_CLASSES[letter.lower()] + (_ACCIDENTALS[sign.lower()] if sign else 0)) % 12
    return tonic, _MODE_NAMES[whole[3].lower()] if whole else None


def _players(style: Style, text: str, has_genre: bool, unwanted: set[str]) -> Style:
    """The style with the players whom the words name, and without those they send away."""
    named = list(dict.fromkeys(_VOICE_WORDS[word] for word in _found(text, _VOICE_WORDS)))
    drums, bass = style.drums, style.bass
    melody, chords, pad = style.melody, style.chords, style.pad
    drums_named = bool(_found(text, _DRUM_WORDS))
    if named == ["pad"]:
        pad = "pad"
    elif named:
        melody = named[0]
        chords = named[1] if len(named) > 1 else (chords if has_genre else named[0])
        pad = named[2] if len(named) > 2 else (pad if has_genre else None)
        if not has_genre:
            # Who asks for a flute asks for no band.
            drums = bass = None
    if drums_named:
        drums = drums or "pop"
    if _found(text, _BASS_WORDS):
        bass = bass or "bass"
    if _found(text, ("solo", "unaccompanied")) and named:
        drums, bass, pad, chords = None, None, None, named[0]
    if unwanted & {"drums", "drum", "beat", "beats", "percussion"}:
        drums = None
    if unwanted & {"bass", "bassline"}:
        bass = None
    if unwanted & {"melody", "lead"}:
        melody = None
    if melody is chords is bass is pad is drums is None:
        chords = "piano"
    comp = style.comp
    if style is POP and not has_genre and chords in ("piano", "pluck", "bells", "marimba"):
        comp = "strum" if chords == "pluck" else "arpeggio"
    if chords in ("strings", "pad", "flute", "brass") and not has_genre:
        comp = "block"
    return dataclasses.replace(
        style, melody=melody, chords=chords, pad=pad, bass=bass, drums=drums, comp=comp
    )
