"""What kinds of music there are, as numbers: tempo, mode, players, patterns.

The tempi are the middle of what dance and music teaching call usual for a style.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MODES: Mapping[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
"""Semitones of each degree above the tonic."""

PROGRESSIONS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 5, 4), (5, 3, 0, 4), (0, 2, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 4), (0, 5, 3, 4), (0, 2, 6, 3)),
    "dorian": ((0, 3, 0, 3), (0, 6, 3, 0), (0, 2, 3, 0)),
    "phrygian": ((0, 1, 0, 6), (0, 5, 1, 0), (0, 1, 2, 1)),
    "lydian": ((0, 1, 0, 4), (0, 1, 5, 4), (0, 4, 1, 0)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 0), (0, 4, 6, 3)),
}
"""Degrees of the chords, one a bar; 0 is the tonic."""
JAZZ_PROGRESSIONS = ((1, 4, 0, 5), (0, 5, 1, 4), (2, 5, 1, 4))
BLUES_PROGRESSION = (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4)


@dataclass(frozen=True, slots=True)
class Style:
    """One kind of music.

    ``melody``, ``chords``, ``bass`` and ``pad`` name voices of :mod:`models.parts.music.voices`,
    ``comp`` and ``line`` patterns of chords and bass, ``drums`` a pattern of the drums; None
    is a player who is not there. ``swing`` is how far every second eighth comes late, in
    eighths; ``room`` how much of the sound is echo, 0 to 1.
    """

    bpm: float
    mode: str
    melody: str | None
    chords: str | None
    bass: str | None
    comp: str
    line: str
    drums: str | None = None
    pad: str | None = None
    swing: float = 0.0
    room: float = 0.2
    beats: int = 4
    energy: float = 0.5
    sevenths: bool = False
    loose: bool = True
    dull: bool = False


POP = Style(
    108, "major", "piano", "epiano", "bass", "pulse", "eighths", "pop", "strings", energy=0.55
)

STYLES: Mapping[str, Style] = {
    "pop": POP,
    "lofi": Style(
        78, "dorian", "epiano", "epiano", "bass", "late", "roots", "lofi", None,
        swing=0.28, room=0.25, energy=0.3, sevenths=True, dull=True,
    ),
    "rock": Style(
        124, "minor", "drive", "drive", "bass", "eighths", "eighths", "rock", None,
        room=0.14, energy=0.75,
    ),
    "metal": Style(
        156, "phrygian", "drive", "drive", "bass", "eighths", "eighths", "metal", None,
        room=0.1, energy=0.95,
    ),
    "jazz": Style(
        136, "major", "reed", "piano", "bass", "stabs", "walking", "jazz", None,
        swing=0.32, energy=0.5, sevenths=True,
    ),
    "blues": Style(
        92, "mixolydian", "drive", "organ", "bass", "stabs", "walking", "shuffle", None,
        swing=0.32, energy=0.5, sevenths=True,
    ),
    "ambient": Style(
        62, "lydian", "bells", None, "sub", "block", "long", None, "pad",
        room=0.6, energy=0.1, sevenths=True,
    ),
    "techno": Style(
        130, "minor", None, "saw", "synthbass", "stabs", "offbeat", "four", "pad",
        room=0.22, energy=0.85, loose=False,
    ),
    "house": Style(
        124, "dorian", "saw", "piano", "synthbass", "stabs", "offbeat", "four", "pad",
        energy=0.7, sevenths=True, loose=False,
    ),
    "trance": Style(
        138, "minor", "saw", "saw", "synthbass", "arpeggio", "offbeat", "four", "pad",
        room=0.35, energy=0.85, loose=False,
    ),
    "breaks": Style(
        172, "minor", "saw", None, "sub", "block", "roots", "breaks", "pad",
        energy=0.9, loose=False,
    ),
    "hiphop": Style(
        88, "minor", "epiano", "piano", "sub", "late", "roots", "hiphop", None,
        swing=0.16, energy=0.45,
    ),
    "trap": Style(
        142, "phrygian", "bells", None, "sub", "block", "long", "trap", "pad",
        room=0.3, energy=0.6, loose=False,
    ),
    "classical": Style(
        96, "major", "piano", "piano", None, "alberti", "long", None, None,
        room=0.35, energy=0.4,
    ),
    "orchestral": Style(
        92, "minor", "strings", "strings", "cello", "block", "roots", "timpani", "brass",
        room=0.5, energy=0.65,
    ),
    "folk": Style(
        104, "major", "flute", "pluck", "bass", "strum", "roots", None, None, energy=0.45
    ),
    "country": Style(
        112, "major", "pluck", "pluck", "bass", "strum", "rootfifth", "pop", None, energy=0.55
    ),
    "reggae": Style(
        76, "major", "organ", "organ", "bass", "offbeat", "dub", "reggae", None, energy=0.45
    ),
    "funk": Style(
        106, "dorian", "brass", "epiano", "bass", "stabs", "octaves", "funk", None,
        room=0.12, energy=0.75, sevenths=True,
    ),
    "disco": Style(
        118, "minor", "strings", "epiano", "bass", "offbeat", "octaves", "four", None,
        energy=0.75, loose=False,
    ),
    "latin": Style(
        126, "minor", "flute", "pluck", "bass", "stabs", "rootfifth", "latin", None,
        energy=0.55, sevenths=True,
    ),
    "chiptune": Style(
        142, "major", "square", "pulse", "triangle", "arpeggio", "octaves", "chip", None,
        room=0.03, energy=0.8, loose=False,
    ),
    "synthwave": Style(
        102, "minor", "saw", "saw", "synthbass", "arpeggio", "eighths", "pop", "pad",
        room=0.3, energy=0.65, loose=False,
    ),
    "waltz": Style(
        150, "major", "strings", "piano", "bass", "waltz", "long", None, None,
        room=0.3, beats=3, energy=0.4,
    ),
    "lullaby": Style(
        66, "major", "bells", "bells", None, "arpeggio", "long", None, None,
        room=0.4, energy=0.15,
    ),
    "march": Style(
        116, "major", "brass", "brass", "bass", "pulse", "rootfifth", "march", None,
        room=0.25, energy=0.7, loose=False,
    ),
}  # fmt: skip

GENRE_WORDS: Mapping[str, str] = {
    "pop": "pop", "lo fi": "lofi", "lofi": "lofi", "chillhop": "lofi", "study": "lofi",
    "rock": "rock", "punk": "rock", "grunge": "rock", "indie": "rock", "metal": "metal",
    "jazz": "jazz", "jazzy": "jazz", "swing": "jazz", "bebop": "jazz", "blues": "blues",
    "bluesy": "blues", "ambient": "ambient", "atmospheric": "ambient", "drone": "ambient",
    "meditation": "ambient", "meditative": "ambient", "spa": "ambient", "new age": "ambient",
    "techno": "techno", "industrial": "techno", "house": "house", "edm": "house",
    "dance": "house", "electronic dance": "house", "electronic": "synthwave", "trance": "trance",
    "drum and bass": "breaks", "dnb": "breaks", "jungle": "breaks", "breakbeat": "breaks",
    "hip hop": "hiphop", "hiphop": "hiphop", "rap": "hiphop", "boom bap": "hiphop", "trap": "trap",
    "classical": "classical", "baroque": "classical", "sonata": "classical",
    "orchestral": "orchestral", "orchestra": "orchestral", "cinematic": "orchestral",
    "epic": "orchestral", "film": "orchestral", "symphony": "orchestral", "trailer": "orchestral",
    "folk": "folk", "acoustic": "folk", "celtic": "folk", "country": "country",
    "bluegrass": "country", "reggae": "reggae", "dub": "reggae", "ska": "reggae",
    "funk": "funk", "funky": "funk", "soul": "funk", "disco": "disco", "latin": "latin",
    "bossa nova": "latin", "samba": "latin", "salsa": "latin", "chiptune": "chiptune",
    "8 bit": "chiptune", "8bit": "chiptune", "video game": "chiptune", "arcade": "chiptune",
    "synthwave": "synthwave", "retrowave": "synthwave", "80s": "synthwave", "waltz": "waltz",
    "lullaby": "lullaby", "music box": "lullaby", "march": "march", "marching": "march",
}  # fmt: skip
"""What people call a style; the names of STYLES are what it sounds like here."""
