"""What a scene consists of: things, a background, and how much of it a caption tells."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RGB = tuple[int, int, int]

COLOURS: Mapping[str, RGB] = MappingProxyType(
    {
        "red": (220, 38, 40),
        "orange": (245, 135, 28),
        "yellow": (252, 218, 48),
        "green": (46, 160, 67),
        "turquoise": (60, 196, 190),
        "blue": (42, 84, 204),
        "purple": (128, 58, 172),
        "pink": (246, 150, 190),
        "brown": (122, 76, 42),
        "black": (24, 24, 27),
        "white": (247, 247, 245),
        "grey": (138, 141, 145),
    }
)
"""Basic colour terms of English (Berlin and Kay, 1969) and turquoise, as 8-bit sRGB."""


class Shape(enum.StrEnum):
    """The flat things that a scene may show."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    RING = "ring"
    CROSS = "cross"
    HEART = "heart"
    STRIPE = "stripe"


class Product(enum.StrEnum):
    """The things of the photographs: they stand on a table, with light and a shadow."""

    BOTTLE = "bottle"
    MUG = "mug"
    BOX = "box"
    VASE = "vase"
    BALL = "ball"


class Size(enum.StrEnum):
    """How large a thing is; what a caption leaves out is of any size between."""

    SMALL = "small"
    LARGE = "large"
    ANY = "any"


class Place(enum.StrEnum):
    """Where a single thing is."""

    MIDDLE = "middle"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    TOP_LEFT = "top left"
    TOP_RIGHT = "top right"
    BOTTOM_LEFT = "bottom left"
    BOTTOM_RIGHT = "bottom right"
    ANYWHERE = "anywhere"


class Relation(enum.StrEnum):
    """How the first of two things lies to the second, or how several are laid out."""

    LEFT_OF = "left of"
    RIGHT_OF = "right of"
    ABOVE = "above"
    BELOW = "below"
    IN_A_ROW = "in a row"
    LOOSE = "loose"


class Backing(enum.StrEnum):
    """What a background looks like."""

    PLAIN = "plain"
    GRADIENT = "gradient"
    TWO_TONE = "two-tone"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Background:
    """``colours`` are names: one for a plain background; two for the others, the upper or left
    one first (for a table: the wall's, then the table's). ``upright`` sets the second below the
    first, otherwise it is to its right. ``share`` is the first one's part of the picture."""

    kind: Backing
    colours: tuple[str, ...]
    upright: bool = True
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Thing:
    """``x`` and ``y`` are the centre in parts of the width and the height; ``radius`` is in parts
    of the shorter side; ``turn`` is in degrees, clockwise."""

    shape: Shape | Product
    colour: str
    x: float
    y: float
    radius: float
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is drawn, and what was meant by where it is."""

    background: Background
    things: tuple[Thing, ...] = ()
    size: Size = Size.ANY
    place: Place = Place.ANYWHERE
    relation: Relation = Relation.LOOSE

    @property
    def key(self) -> str:
        """The same for all scenes of the same things, colours and background, however laid
        out."""
        things = "+".join(sorted(f"{each.colour} {each.shape}" for each in self.things))
        return f"{things}/{self.background.kind} {' '.join(self.background.colours)}"
