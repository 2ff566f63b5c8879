"""Names of colours, and which colours people call by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Named:
    """A region of CIE LCh, the polar form of Lab: hue in degrees (``first`` to ``last``, which
    may pass 360), lightness 0 to 100, and chroma, 0 for greys and about 130 at most."""

    first: float
    last: float
    light: tuple[float, float]
    chroma: tuple[float, float]

    def fits(self, lab: Floats) -> Floats:
        """How well each colour (... x 3, Lab) goes by the name: 1 inside, falling to 0."""
        lightness, a, b = np.moveaxis(lab, -1, 0)
        chroma = np.hypot(a, b)
        off = _beyond(lightness, self.light) / 8 + _beyond(chroma, self.chroma) / 6
        if self.last - self.first < 360:
            middle, half = (self.first + self.last) / 2, (self.last - self.first) / 2
            hue = np.degrees(np.arctan2(b, a))
            away = np.abs((hue - middle + 180) % 360 - 180)
            off = off + np.maximum(0, away - half) / 8
        return np.clip(1 - off, 0, 1).astype(np.float32)


def _beyond(values: Floats, limits: tuple[float, float]) -> Floats:
    return np.asarray(np.maximum(0, np.maximum(limits[0] - values, values - limits[1])))


_ANY = 0.0, 360.0
_ALL = 0.0, 150.0

COLOURS = {
    "red": Named(10, 50, (8, 64), (28, 150)),
    "orange": Named(48, 76, (45, 90), (42, 150)),
    "brown": Named(30, 82, (10, 52), (12, 55)),
    "yellow": Named(78, 110, (58, 100), (35, 150)),
    "green": Named(110, 178, (8, 95), (16, 150)),
    "turquoise": Named(172, 238, (15, 95), (14, 150)),
    "blue": Named(238, 311, (5, 90), (16, 150)),
    "purple": Named(308, 338, (8, 85), (16, 150)),
    "magenta": Named(326, 366, (25, 75), (40, 150)),
    "pink": Named(335, 400, (58, 96), (12, 60)),
    "white": Named(*_ANY, (80, 100), (0, 12)),
    "black": Named(*_ANY, (0, 24), (0, 14)),
    "grey": Named(*_ANY, (26, 78), (0, 9)),
    "beige": Named(58, 105, (62, 96), (7, 36)),
    "gold": Named(68, 96, (45, 85), (35, 150)),
}

_LIKE = {
    "gray": "grey",
    "silver": "grey",
    "crimson": "red",
    "scarlet": "red",
    "maroon": "red",
    "ruby": "red",
    "golden": "gold",
    "tan": "beige",
    "cream": "beige",
    "sand": "beige",
    "ivory": "beige",
    "wooden": "brown",
    "chocolate": "brown",
    "lemon": "yellow",
    "lime": "green",
    "olive": "green",
    "emerald": "green",
    "teal": "turquoise",
    "cyan": "turquoise",
    "aqua": "turquoise",
    "navy": "blue",
    "azure": "blue",
    "cobalt": "blue",
    "indigo": "blue",
    "violet": "purple",
    "lilac": "purple",
    "lavender": "purple",
    "fuchsia": "magenta",
    "rose": "pink",
    "salmon": "pink",
}

_DARK = frozenset({"dark", "deep"})
_LIGHT = frozenset({"light", "pale", "pastel"})
_NAVY_AND_SO_ON = frozenset({"navy", "maroon", "chocolate"})
_SHADES = frozenset({"white", "black"})


def named(word: str, before: str = "") -> Named | None:
    """The colour that a word means, None where it means none; ``before`` is the word before
    it, which may make it a dark or a light one. Small letters."""
    plain = _LIKE.get(word, word)
    colour = COLOURS.get(plain)
    if colour is None or plain in _SHADES:
        return colour
    low, high = colour.light
    if before in _DARK or word in _NAVY_AND_SO_ON:
        return replace(colour, light=(0.0, min(high, 42.0)))
    if before in _LIGHT:
        # What is light has less colour in it.
        floor = min(colour.chroma[0], 10.0)
        return replace(colour, light=(max(low, 58.0), 100.0), chroma=(floor, colour.chroma[1]))
    return colour


def fit(colours: Sequence[Named], lab: Floats) -> Floats:
    """How well each pixel (height x width x 3, Lab) goes by any of the names, 0 to 1."""
    return np.asarray(np.max([colour.fits(lab) for colour in colours], axis=0), np.float32)
