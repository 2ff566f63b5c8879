"""The synthesizer: what its words mean, and whether one hears it."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from farm.catalog import built_in_catalog
from farm.types import RunRequest
from models import registry
from models.base import Engine
from models.parts.music.score import compose
from models.parts.music.styles import MODES, STYLES
from models.parts.music.voices import RATE, VOICES, play
from models.parts.music.words import Brief, understood
from tests.contracts.audio_engine import AudioEngineContract, TimeIsUp, decoded, ignore

Mono = NDArray[np.float64]


class TestSynth(AudioEngineContract):
    served_by = "synth"
    resides = False

    @classmethod
    def create(cls, folder: Path) -> Engine:
        card = built_in_catalog().models[cls.model_id]
        return registry.create(card, "tiny", cache=folder, interrupts=(TimeIsUp,))

    def test_it_needs_no_weights(self, player: Engine, folder: Path) -> None:
        assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A synthesizer."""
    made = TestSynth.create(tmp_path_factory.mktemp("synth"))
    made.load("cpu")
    return made


def heard(synth: Engine, prompt: str, duration: int = 12, seed: int = 3) -> Mono:
    """What a prompt sounds like, both ears together."""
    params = {"prompt": prompt, "duration": duration, "seed": seed}
    job = RunRequest(uuid.uuid4(), 1, "musicgen-small", "audio", params)
    samples, rate = decoded(synth.run(job, ignore)[0])
    assert rate == RATE
    return np.asarray(samples.mean(axis=1))


def strongest_beat_s(sound: Mono, around_s: float) -> float:
    """The period in which onsets repeat most, within a tenth of a guess, in seconds."""
    hop = 128
    _, _, spectrum = signal.stft(sound, RATE, nperseg=1024, noverlap=1024 - hop)
    rising = np.maximum(0, np.diff(np.log1p(100 * np.abs(spectrum)), axis=1)).sum(axis=0)
    rising -= rising.mean()
    again = signal.correlate(rising, rising, "full")[len(rising) - 1 :]
    near = np.arange(int(0.9 * around_s * RATE / hop), int(1.1 * around_s * RATE / hop))
    return float(near[again[near].argmax()] * hop / RATE)


def chroma(sound: Mono) -> Mono:
    """How much there is of each pitch class, from C."""
    frequencies, _, spectrum = signal.stft(sound, RATE, nperseg=8192)
    loud = np.abs(spectrum).sum(axis=1)
    inside = (frequencies > 60) & (frequencies < 1500)
    pitches = np.round(69 + 12 * np.log2(frequencies[inside] / 440)).astype(int) % 12
    return np.bincount(pitches, loud[inside], 12)


@pytest.mark.parametrize("bpm", [84, 120, 140])
def test_the_tempo_that_is_stated_is_heard(synth: Engine, bpm: int) -> None:
    found = strongest_beat_s(heard(synth, f"techno, {bpm} bpm"), 60 / bpm)
    assert found == pytest.approx(60 / bpm, rel=0.015)


@pytest.mark.parametrize(
    ("prompt", "tonic", "mode"),
    [
        ("calm piano in A minor", 9, "minor"),
        ("rock in E minor", 4, "minor"),
        ("happy guitar, key of D", 2, "major"),
        ("trance in F# major", 6, "major"),
        ("jazz in Bb major", 10, "major"),
    ],
)
def test_the_key_that_is_stated_is_heard(synth: Engine, prompt: str, tonic: int, mode: str) -> None:
    found = chroma(heard(synth, prompt))
    scale = [(tonic + step) % 12 for step in MODES[mode]]
    strangers = [pitch for pitch in range(12) if pitch not in scale]
    assert found[scale].mean() > 1.8 * found[strangers].mean()
    # A scale has relatives of the same notes; the tonic's chord tells them apart.
    assert found[[tonic, (tonic + 7) % 12]].mean() > found[scale].mean()


def test_drums_are_heard_where_they_are_asked_for(synth: Engine) -> None:
    treble = signal.butter(4, 6000, "highpass", fs=RATE, output="sos")
    quiet, loud = (
        np.square(signal.sosfilt(treble, heard(synth, prompt))).sum()
        for prompt in ("a piano without drums", "a piano with drums")
    )
    assert loud > 5 * quiet


@pytest.mark.parametrize(
    ("slower", "faster"),
    [("slow piano", "fast piano"), ("calm strings", "energetic strings"), ("ambient", "techno")],
)
def test_fast_words_give_more_notes_than_slow_ones(slower: str, faster: str) -> None:
    few, many = (len(notes(brief(prompt))) for prompt in (slower, faster))
    assert many > 1.2 * few


def brief(prompt: str, seed: int = 1) -> Brief:
    return understood(prompt, np.random.default_rng(seed))


def notes(asked: Brief, seconds: float = 20) -> list[float]:
    bars = compose(asked, seconds, np.random.default_rng(1))
    return [event.start for bar in bars for event in (*bar.notes, *bar.hits)]


@pytest.mark.parametrize(
    ("prompt", "melody", "chords", "bass", "drums"),
    [
        ("a calm piano", "piano", "piano", None, None),
        ("flute and harp", "flute", "pluck", None, None),
        ("jazz trio without drums", "reed", "piano", "bass", None),
        ("solo acoustic guitar", "pluck", "pluck", None, None),
        ("8-bit boss fight", "square", "pulse", "triangle", "chip"),
        ("techno with a violin", "strings", "saw", "synthbass", "four"),
        ("Rock. No bass!", "drive", "drive", None, "rock"),
        ("雨の中", "piano", "epiano", "bass", "pop"),
    ],
)
def test_who_plays_is_in_the_words(
    prompt: str, melody: str, chords: str, bass: str | None, drums: str | None
) -> None:
    style = brief(prompt).style
    assert (style.melody, style.chords, style.bass, style.drums) == (melody, chords, bass, drums)


@pytest.mark.parametrize(
    ("prompt", "tonic", "mode"),
    [
        ("C major", 0, "major"),
        ("in Eb minor, slow", 3, "minor"),
        ("a tune in c sharp", None, "major"),
        ("key of c sharp", 1, "major"),
        ("in A minor", 9, "minor"),
        ("jazz in Bb", 10, "major"),
        ("lost in A dream, in F#, slow", 6, "major"),
        ("in a minor key", None, "minor"),
        ("a sad song", None, "minor"),
        ("D Dorian reel", 2, "dorian"),
        ("B-flat major", 10, "major"),
    ],
)
def test_a_key_is_read_where_one_is_stated(prompt: str, tonic: int | None, mode: str) -> None:
    drawn = {brief(prompt, seed).tonic for seed in range(12)}
    assert drawn == {tonic} if tonic is not None else len(drawn) > 1
    assert brief(prompt).style.mode == mode


@pytest.mark.parametrize(
    ("prompt", "bpm"),
    [("90 BPM", 90), ("at 128bpm", 128), ("9 bpm", None), ("500 bpm", 220), ("Adagio", 68)],
)
def test_a_tempo_is_read_where_one_is_stated(prompt: str, bpm: float | None) -> None:
    found = brief(prompt).style.bpm
    assert found == bpm if bpm else found == pytest.approx(STYLES["pop"].bpm, rel=0.04)


@pytest.mark.parametrize("name", sorted(STYLES))
def test_every_style_plays_to_its_end_at_an_even_level(synth: Engine, name: str) -> None:
    sound = heard(synth, name)
    assert np.abs(sound[-100:]).max() < 0.01
    thirds = [np.sqrt(np.mean(part**2)) for part in np.array_split(sound[: -2 * RATE], 3)]
    assert min(thirds) > 0.35 * max(thirds)


@pytest.mark.parametrize("name", sorted(VOICES))
def test_every_voice_is_in_tune(name: str) -> None:
    for pitch in (40, 57, 76):
        sound = play(name, pitch, 1.5, np.random.default_rng(1))[:RATE]
        assert np.isfinite(sound).all()
        wanted = 440 * 2 ** ((pitch - 69) / 12)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 2**18))
        frequencies = np.fft.rfftfreq(2**18, 1 / RATE)
        near = (frequencies > 0.94 * wanted) & (frequencies < 1.06 * wanted)
        cents = 1200 * np.log2(frequencies[near][spectrum[near].argmax()] / wanted)
        assert abs(cents) < 12, pitch


@pytest.mark.parametrize("seconds", [5, 6, 13, 30])
def test_a_piece_fits_its_time_and_ends_on_the_tonic(seconds: int) -> None:
    for prompt in ("largo", "presto", "waltz", "metal 220 bpm", "ambient 40 bpm"):
        asked = brief(prompt)
        bars = compose(asked, seconds, np.random.default_rng(2))
        assert len(bars) >= 2
        assert all(note.start < seconds for note in bars[-1].notes)
        lowest = min(note.pitch for note in bars[-1].notes if note.role != "melody")
        chord = {(asked.tonic + step) % 12 for step in MODES[asked.style.mode]}
        assert lowest % 12 in chord
