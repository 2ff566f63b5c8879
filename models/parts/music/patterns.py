"""Patterns of one bar: what the chords, the bass and the drums play, and how melodies move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

CLOSING = ("kick", "crash")
"""What is struck on the last beat of all."""


class Stroke(NamedTuple):
    """A chord, or one of its tones (None: all of them). Times in beats."""

    beat: float
    beats: float
    velocity: float = 0.7
    tone: int | None = None


class BassStroke(NamedTuple):
    """A tone of the bass by its place in the chord; ``lead`` is a step beside the next root."""

    beat: float
    beats: float
    tone: str = "root"
    velocity: float = 0.8


class DrumStroke(NamedTuple):
    """A drum at a beat."""

    beat: float
    drum: str
    velocity: float


_COMPS: Mapping[str, tuple[Stroke, ...]] = {
    "late": (Stroke(0, 1.4), Stroke(1.5, 1.9, 0.55), Stroke(3.5, 0.5, 0.5)),
    "stabs": (Stroke(0.5, 0.5), Stroke(1.5, 0.8, 0.6), Stroke(3, 0.5, 0.65)),
    "strum": (
        Stroke(0, 1.0, 0.8), Stroke(1, 0.5, 0.6), Stroke(1.5, 0.9, 0.55),
        Stroke(2.5, 0.5, 0.6), Stroke(3, 0.5, 0.7), Stroke(3.5, 0.5, 0.5),
    ),
    "waltz": (Stroke(1, 0.8, 0.6), Stroke(2, 0.8, 0.55)),
}  # fmt: skip
_RUNNING = {"arpeggio": (0, 1, 2, 3, 4, 3, 2, 1), "alberti": (0, 2, 1, 2)}

_LINES: Mapping[str, tuple[BassStroke, ...]] = {
    "roots": (BassStroke(0, 1.9), BassStroke(2.5, 1.4, "root", 0.65)),
    "rootfifth": (BassStroke(0, 1.8), BassStroke(2, 1.8, "fifth")),
    "walking": (
        BassStroke(0, 0.95), BassStroke(1, 0.95, "third"), BassStroke(2, 0.95, "fifth"),
        BassStroke(3, 0.95, "lead"),
    ),
    "dub": (BassStroke(0, 1.2), BassStroke(1.5, 0.5, "fifth"), BassStroke(2.5, 1.2, "octave")),
}  # fmt: skip

# fmt: off
_DRUMS: Mapping[str, Mapping[str, str]] = {
    "pop": {"kick": "x.....x.x.......", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
    "rock": {"kick": "x.....x.x.x.....", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
    "metal": {"kick": "xxxxx.xxxxxxx.xx", "snare": "....X.......X...", "crash": "x.......x......."},
    "lofi": {"kick": "x......x..x.....", "snare": "....x.......x..-", "hat": "x-x.x-x.x.x-x.x."},
    "jazz": {"ride": "X...x.x.X...x.x.", "hat": "....x.......x...", "kick": "-.......-......."},
    "shuffle": {
        "kick": "x.......x.......", "snare": "....x.......x...", "ride": "X.x.X.x.X.x.X.x.",
    },
    "four": {"kick": "X...X...X...X...", "clap": "....x.......x...", "hat": "..X...X...X...X."},
    "breaks": {"kick": "x.........x.....", "snare": "....X..-.-..X..-", "hat": "x.x.x.x.x.x.x.x."},
    "hiphop": {"kick": "X..x......X.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.xx"},
    "trap": {"kick": "X.....x...x.....", "clap": "........X.......", "hat": "x-x-x-xxx-x-xxxx"},
    "timpani": {"tom": "X.......x...x...", "crash": "-..............."},
    "reggae": {"kick": "........X.......", "rim": "........x.......", "hat": "x.x.x.x.x.x.x.x."},
    "funk": {"kick": "X..x..x...x..x..", "snare": "....X..-.-..X..-", "hat": "xxxxxxxxxxxxxxxx"},
    "latin": {"kick": "x.....x.x.....x.", "rim": "x..x..x...x..x..", "shaker": "x-x-x-x-x-x-x-x-"},
    "chip": {"kick": "x...x...x...x...", "snare": "....x.......x.x.", "hat": "x.x.x.x.x.x.x.x."},
    "march": {"kick": "X.......x.......", "snare": "x.xxx.x.x.xxx.xx"},
}
# fmt: on
"""Sixteenths of a bar of four: X hard, x struck, - soft."""
_VELOCITIES = {"X": 1.0, "x": 0.75, "-": 0.35}
_FILLS = ("xx..", "x.xx", "xxxx")


def comp(name: str, beats: int, number: int) -> Iterator[Stroke]:
    """What the chords play in a bar of so many beats."""
    if name in _RUNNING:
        order = _RUNNING[name]
        for eighth in range(2 * beats):
            yield Stroke(eighth / 2, 0.9, 0.62, order[eighth % len(order)])
    elif name == "eighths":
        for eighth in range(2 * beats):
            yield Stroke(eighth / 2, 0.48, 0.75 if eighth % 2 == 0 else 0.6)
    elif name == "pulse":
        for beat in range(beats):
            yield Stroke(beat, 0.9, 0.7 if beat == 0 else 0.55)
    elif name == "offbeat":
        for beat in range(beats):
            yield Stroke(beat + 0.5, 0.4, 0.65)
    elif name in _COMPS:
        yield from (stroke for stroke in _COMPS[name] if stroke.beat < beats)
    else:
        yield Stroke(0, beats * 1.02, 0.7)


def bass(name: str, beats: int) -> Iterator[BassStroke]:
    """What the bass plays in a bar of so many beats."""
    if name == "eighths":
        for eighth in range(2 * beats):
            yield BassStroke(eighth / 2, 0.46, "root", 0.85 if eighth % 2 == 0 else 0.7)
    elif name == "offbeat":
        for beat in range(beats):
            yield BassStroke(beat + 0.5, 0.45)
    elif name == "octaves":
        for eighth in range(2 * beats):
            yield BassStroke(eighth / 2, 0.4, "octave" if eighth % 2 else "root", 0.75)
    elif name in _LINES:
        yield from (stroke for stroke in _LINES[name] if stroke.beat < beats)
    else:
        yield BassStroke(0, beats * 0.98)


def drums(name: str, beats: int, fill: bool) -> Iterator[DrumStroke]:
    """What the drums play in a bar of so many beats; a fill takes its last one."""
    until = beats - 1 if fill else beats
    for drum, line in _DRUMS[name].items():
        for sixteenth, mark in enumerate(line[: 4 * beats]):
            if mark in _VELOCITIES and sixteenth / 4 < until:
                yield DrumStroke(sixteenth / 4, drum, _VELOCITIES[mark])
    if fill:
        lead = "tom" if name in ("timpani", "rock", "metal", "pop") else "snare"
        for sixteenth, mark in enumerate(_FILLS[len(name) % len(_FILLS)]):
            if mark != ".":
                yield DrumStroke(until + sixteenth / 4, lead, 0.5 + 0.1 * sixteenth)


def melody_cells(energy: float, left: float) -> list[tuple[float, ...]]:
    """Rhythms in beats that a melody may go on with, where so many beats are left; a rest is
    negative. The more energy, the shorter the notes."""
    cells: list[tuple[float, ...]] = [(1.0,), (-1.0,)]
    if energy < 0.35:
        cells += [(2.0,), (2.0,), (3.0,), (1.5, 0.5)]
    elif energy < 0.6:
        cells += [(0.5, 0.5), (1.0,), (1.5, 0.5), (2.0,)]
    else:
        cells += [(0.5, 0.5), (0.5, 0.5), (0.5, 1.0, 0.5), (-0.5, 0.5), (0.5, 0.25, 0.25)]
    return [cell for cell in cells if sum(map(abs, cell)) <= left] or [(left,)]
