"""What the words of a prompt ask for: which things, how many, how large, of what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.parts.solids.things import THINGS

THINGS_MAX = 4
"""Of different things in one prompt."""

PALETTE: Mapping[str, str] = {
    "red": "c8281e", "crimson": "a01428", "scarlet": "d2281e", "maroon": "6e141e",
    "orange": "eb7814", "amber": "f0a01e", "yellow": "f5cd1e", "gold": "e6b43c",
    "golden": "e6b43c", "green": "2e9b3c", "lime": "96d228", "olive": "788228",
    "emerald": "148c5a", "mint": "96e1be", "turquoise": "28b9b4", "teal": "147d82",
    "cyan": "28c8dc", "blue": "2850c8", "navy": "14235a", "azure": "3c96e6", "sky": "78bef0",
    "purple": "7832aa", "violet": "8c46d2", "lavender": "b4a0e6", "magenta": "d228a0",
    "pink": "f08cb4", "rose": "dc5078", "brown": "78461e", "chocolate": "501e0f",
    "beige": "dcc8a0", "cream": "f5ebcd", "ivory": "f5f0dc", "white": "f0f0f0",
    "grey": "828287", "gray": "828287", "silver": "c8cdd2", "black": "1e1e23",
    "copper": "be6e3c", "bronze": "a0783c", "steel": "aab4be", "wood": "825028",
    "wooden": "96602f", "stone": "96918a", "brick": "a5503c", "snow": "f5f8fa",
    "leaf": "3c8c32", "pine": "1e6432", "dough": "dcaa64", "window": "8cbed7",
    "light": "fff0b4", "dark": "232328", "rubber": "28282d", "coffee": "3c2314",
}  # fmt: skip
"""sRGB by name: colours that people say, and those that things have by themselves."""
SAID = tuple(PALETTE)[: tuple(PALETTE).index("steel")]
"""The names of the palette that are colours in a prompt; "wooden" and the like are too."""
_SAID_TOO = ("wood", "wooden", "stone", "brick", "steel")

_NOUNS: Mapping[str, str] = {
    "sphere": "ball", "globe": "ball", "marble": "ball", "bead": "ball", "moon": "ball",
    "saturn": "planet", "box": "cube", "block": "cube", "dice": "cube", "die": "cube",
    "crate": "cube", "column": "cylinder", "pillar": "cylinder", "barrel": "cylinder",
    "can": "cylinder", "hoop": "torus", "tyre": "torus", "tire": "torus", "doughnut": "donut",
    "bagel": "donut", "home": "house", "cottage": "house", "hut": "house", "cabin": "house",
    "fortress": "castle", "palace": "castle", "mug": "cup", "teacup": "cup", "jar": "vase",
    "pot": "vase", "urn": "vase", "oak": "tree", "bush": "tree", "fir": "pine",
    "christmas tree": "pine", "pine tree": "pine", "fir tree": "pine", "desk": "table",
    "stool": "chair", "seat": "chair", "automobile": "car", "taxi": "car", "truck": "car",
    "spaceship": "rocket", "spacecraft": "rocket", "missile": "rocket", "lantern": "lamp",
    "toadstool": "mushroom", "daisy": "flower", "tulip": "flower", "sunflower": "flower",
    "android": "robot", "icecream": "ice cream", "diamond": "gem", "crystal": "gem",
    "jewel": "gem", "ruby": "gem", "fruit": "apple", "blade": "sword", "traffic cone": "cone",
    **{name: name for name in THINGS},
}  # fmt: skip
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_NUMBERS |= {"nine": 9, "pair": 2, "couple": 2, "few": 3, "several": 4, "many": 7}
_SIZES = {"tiny": 0.3, "miniature": 0.3, "small": 0.6, "little": 0.6, "mini": 0.5}
_SIZES |= {"big": 1.6, "large": 1.6, "huge": 2.5, "giant": 2.5, "enormous": 3.0, "massive": 2.5}
_FORMS = {"tall": (0.85, 1.5), "high": (0.85, 1.5), "long": (0.85, 1.4), "thin": (0.6, 1.15)}
_FORMS |= {"slim": (0.65, 1.15), "wide": (1.4, 0.9), "flat": (1.3, 0.4), "low": (1.2, 0.6)}
_FORMS |= {"short": (1.1, 0.65), "fat": (1.4, 1.0), "thick": (1.3, 1.0)}
_ABOVE = frozenset({"on", "atop", "onto", "over", "above"})
_NOT_THIS = frozenset({"no", "without", "not"})


@dataclass(frozen=True, slots=True)
class Finish:
    """How a surface takes the light: all 0 to 1."""

    roughness: float = 0.6
    metallic: float = 0.0
    opacity: float = 1.0
    glow: float = 0.0


_METAL, _DULL = Finish(0.3, 1.0), Finish(0.95)
_FINISHES = dict.fromkeys(("metal", "metallic", "iron", "steel", "chrome", "silver"), _METAL)
_FINISHES |= dict.fromkeys(("gold", "golden", "copper", "bronze", "brass"), _METAL)
_FINISHES |= dict.fromkeys(("glass", "transparent", "crystal", "ice"), Finish(0.08, 0, 0.45))
_FINISHES |= dict.fromkeys(("shiny", "glossy", "plastic", "porcelain", "polished"), Finish(0.18))
_FINISHES |= dict.fromkeys(("matte", "clay", "stone", "concrete", "wooden", "felt"), _DULL)
_FINISHES |= dict.fromkeys(("glowing", "neon", "luminous"), Finish(0.5, 0, 1, 0.9))


@dataclass(slots=True)
class Wanted:
    """One thing of a prompt; ``noun`` is a key of THINGS, or empty for one of no name.

    ``form`` is how many times as wide and as high it is; ``above`` says that it stands on the
    next one and not beside it.
    """

    noun: str = ""
    colours: list[str] = field(default_factory=list)
    count: int = 1
    size: float = 1.0
    form: tuple[float, float] = (1.0, 1.0)
    finish: Finish = Finish()
    above: bool = False


def understood(prompt: str) -> list[Wanted]:
    """The things that a prompt names, in its order, each with the words before it; one without
    a name where there are none."""
    words = re.findall(r"[a-z]+|\d+", prompt.lower())
    things: list[Wanted] = []
    current, place, skipped = Wanted(), 0, False
    while place < len(words) and len(things) < THINGS_MAX:
        pair = " ".join(words[place : place + 2])
        noun = _noun(pair) or _noun(words[place])
        if noun and not skipped:
            current.noun = noun
            things.append(current)
            current = Wanted()
        elif noun:
            skipped = False
        else:
            skipped = skipped or words[place] in _NOT_THIS
            _take(words[place], current, things)
        place += 2 if _noun(pair) else 1
    if things:
        # What comes after the last name, "a ball that is red", is said of it.
        last = things[-1]
        last.colours += [] if last.colours else current.colours
        return things
    return [current]


def _take(word: str, current: Wanted, things: list[Wanted]) -> None:
    """One word that names no thing: what it changes."""
    if word in SAID or word in _SAID_TOO:
        current.colours.append(word)
    if word in _FINISHES:
        current.finish = _FINISHES[word]
    if word in _NUMBERS or (word.isdecimal() and len(word) == 1 and int(word) > 0):
        current.count = _NUMBERS.get(word) or int(word)
    if word in _SIZES:
        current.size = _SIZES[word]
    if word in _FORMS:
        current.form = _FORMS[word]
    if word in _ABOVE and things:
        things[-1].above = True


def _noun(words: str) -> str:
    """The thing that a word, or two, means; empty where it means none."""
    for name in (words, words.removesuffix("s"), words.removesuffix("es")):
        if name in _NOUNS:
            return _NOUNS[name]
    return ""
