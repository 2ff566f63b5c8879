"""Making scenes up: what is in them, and where it can stand.

What a caption leaves open varies little: a thing of which no place is told is about in the
middle, and of three sizes. A small model that learns for an hour should not spend it on what
nobody asks for.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import TypeVar

import numpy as np

from models.tiny.scenes.plan import (
    COLOURS,
    Background,
    Backing,
    Place,
    Product,
    Relation,
    Scene,
    Shape,
    Size,
    Thing,
)

T = TypeVar("T")

_NAMES = tuple(COLOURS)
_RADII = {Size.SMALL: 0.125, Size.LARGE: 0.29, Size.ANY: 0.19}
_OF_TWO, _OF_THREE = 0.16, 0.12
_MARGIN = 0.03
_CLOSE = (
    {"red", "orange"},
    {"orange", "yellow"},
    {"orange", "brown"},
    {"red", "brown"},
    {"blue", "purple"},
    {"brown", "black"},
    {"turquoise", "blue"},
    {"turquoise", "green"},
    {"pink", "white"},
    {"grey", "turquoise"},
    {"pink", "purple"},
)
"""Colours that do not stand out against each other."""
_HELD_OUT_ONE_IN = 10


def held_out(scene: Scene) -> bool:
    """Whether training never shows this combination of things, colours and background."""
    return zlib.crc32(scene.key.encode()) % _HELD_OUT_ONE_IN == 0


def sample(rng: np.random.Generator, *, aspect: float = 1.0, unseen: bool = False) -> Scene:
    """A scene for a picture whose width is ``aspect`` times its height.

    ``unseen`` asks for one of the combinations that training does not show.
    """
    weights = (0.44, 0.29, 0.09, 0.08, 0.1)
    kinds = (single, pair, trio, several, photograph)
    while True:
        scene = kinds[rng.choice(len(kinds), p=weights)](rng, aspect)
        if held_out(scene) == unseen:
            return scene


def on_grid(scene: Scene, columns: int, rows: int) -> Scene:
    """The scene with every centre and edge on the nearest line between ``columns`` x ``rows``
    cells. Latents of scenes that are all laid on their grid repeat, and repeat is what a small
    model learns by; the words for places do not tell the difference."""
    things = tuple(
        dataclasses.replace(
            thing, x=round(thing.x * columns) / columns, y=round(thing.y * rows) / rows
        )
        for thing in scene.things
    )
    ground = scene.background
    cells = rows if ground.upright else columns
    ground = dataclasses.replace(ground, share=round(ground.share * cells) / cells)
    return dataclasses.replace(scene, things=things, background=ground)


def single(rng: np.random.Generator, aspect: float = 1.0) -> Scene:
    """One thing, somewhere; at times none, which is how a background looks."""
    background = _background(rng)
    if rng.random() < 0.05:
        return Scene(background)
    size = Size.ANY if rng.random() < 0.6 else _pick(rng, (Size.SMALL, Size.LARGE))
    place = Place.ANYWHERE if rng.random() < 0.4 else _pick(rng, tuple(Place))
    radius = _RADII[size]
    if size is Size.LARGE and place is not Place.MIDDLE:
        place = Place.ANYWHERE
    thing = _thing(rng, background, radius)
    x, y = _inside(rng, place, thing, aspect)
    thing = dataclasses.replace(thing, x=x, y=y)
    return Scene(background, (thing,), size=size, place=place)


def pair(rng: np.random.Generator, aspect: float = 1.0) -> Scene:
    """Two different things, one beside or above the other."""
    background = _background(rng)
    first, second = (_thing(rng, background, _OF_TWO) for _ in range(2))
    while (second.shape, second.colour) == (first.shape, first.colour):
        second = _thing(rng, background, second.radius)
    told = (Relation.LEFT_OF, Relation.RIGHT_OF, Relation.ABOVE, Relation.BELOW)
    relation = Relation.LOOSE if rng.random() < 0.15 else _pick(rng, told)
    things = _apart(
        rng, (first, second), Relation.LEFT_OF if relation is Relation.LOOSE else relation
    )
    return Scene(background, things, relation=relation)


def trio(rng: np.random.Generator, aspect: float = 1.0) -> Scene:
    """Three things, no two of the same shape and colour, from left to right."""
    background = _background(rng)
    things: list[Thing] = []
    while len(things) < 3:
        thing = _thing(rng, background, _OF_THREE)
        if (thing.shape, thing.colour) not in {(t.shape, t.colour) for t in things}:
            things.append(thing)
    return Scene(background, _in_a_row(rng, things), relation=Relation.IN_A_ROW)


def several(rng: np.random.Generator, aspect: float = 1.0) -> Scene:
    """Two or three of the same kind."""
    background = _background(rng)
    model = _thing(rng, background, _OF_THREE)
    count = int(rng.integers(2, 4))
    return Scene(background, _in_a_row(rng, [model] * count), relation=Relation.IN_A_ROW)


def photograph(rng: np.random.Generator, aspect: float = 1.0) -> Scene:
    """A product on a table; at times the table alone, as a place to put one."""
    share = 0.5625
    wall, table = _contrasting(rng)
    background = Background(Backing.TABLE, (wall, table), share=share)
    if rng.random() < 0.35:
        return Scene(background)
    radius = 0.25
    colour = _pick(rng, tuple(name for name in _NAMES if _stands_out(name, (wall, table))))
    product = _pick(rng, tuple(Product))
    x = rng.uniform(0.46, 0.54)
    y = share + 0.08 - radius * 0.6 / max(1.0, 1 / aspect)
    return Scene(background, (Thing(product, colour, x, y, radius),))


def _pick(rng: np.random.Generator, options: tuple[T, ...]) -> T:
    return options[int(rng.integers(len(options)))]


def _background(rng: np.random.Generator) -> Background:
    kind = (Backing.PLAIN, Backing.GRADIENT, Backing.TWO_TONE)[rng.choice(3, p=(0.72, 0.15, 0.13))]
    if kind is Backing.PLAIN:
        return Background(kind, (_pick(rng, _NAMES),))
    return Background(kind, _contrasting(rng), upright=bool(rng.random() < 0.6))


def _contrasting(rng: np.random.Generator) -> tuple[str, str]:
    first = _pick(rng, _NAMES)
    return first, _pick(rng, tuple(name for name in _NAMES if _stands_out(name, (first,))))


def _stands_out(name: str, against: tuple[str, ...]) -> bool:
    return all(name != other and {name, other} not in _CLOSE for other in against)


def _thing(rng: np.random.Generator, background: Background, radius: float) -> Thing:
    fitting = tuple(name for name in _NAMES if _stands_out(name, background.colours))
    shape = _pick(rng, tuple(Shape))
    return Thing(shape, _pick(rng, fitting), 0.5, 0.5, radius)


def _reach(thing: Thing, aspect: float) -> tuple[float, float]:
    """How far from an edge a centre must be, in parts of the width and of the height."""
    wide = 1.36 if thing.shape is Shape.STRIPE else 1.1
    return (
        thing.radius * wide / max(1.0, aspect) + _MARGIN,
        thing.radius * 1.1 / max(1.0, 1 / aspect) + _MARGIN,
    )


def _inside(
    rng: np.random.Generator, place: Place, thing: Thing, aspect: float
) -> tuple[float, float]:
    across, down = _reach(thing, aspect)
    row, column = _CELLS.get(place, (None, None))
    return _within(rng, column, across), _within(rng, row, down)


_CELLS: dict[Place, tuple[int, int]] = {
    Place.MIDDLE: (1, 1),
    Place.LEFT: (1, 0),
    Place.RIGHT: (1, 2),
    Place.TOP: (0, 1),
    Place.BOTTOM: (2, 1),
    Place.TOP_LEFT: (0, 0),
    Place.TOP_RIGHT: (0, 2),
    Place.BOTTOM_LEFT: (2, 0),
    Place.BOTTOM_RIGHT: (2, 2),
}
"""Row and column of a 3 x 3 grid."""


def _within(rng: np.random.Generator, third: int | None, reach: float) -> float:
    reach = min(reach, 0.5)
    if third is None:
        return float(np.clip(rng.uniform(0.43, 0.57), reach, 1 - reach))
    if third == 1:
        return float(rng.uniform(0.46, 0.54))
    near = float(rng.uniform(reach, min(reach + 0.03, 0.5)))
    return near if third == 0 else 1 - near


def _apart(
    rng: np.random.Generator, things: tuple[Thing, Thing], relation: Relation
) -> tuple[Thing, ...]:
    near, far = rng.uniform(0.25, 0.28), 1 - rng.uniform(0.25, 0.28)
    jitter = rng.uniform(-0.03, 0.03, 2) + 0.5
    ends = (near, far) if relation in (Relation.LEFT_OF, Relation.ABOVE) else (far, near)
    sideways = relation in (Relation.LEFT_OF, Relation.RIGHT_OF)
    return tuple(
        dataclasses.replace(
            thing,
            x=float(end if sideways else off),
            y=float(off if sideways else end),
        )
        for thing, end, off in zip(things, ends, jitter, strict=True)
    )


def _in_a_row(rng: np.random.Generator, things: list[Thing]) -> tuple[Thing, ...]:
    places = (0.29, 0.71) if len(things) == 2 else (0.19, 0.5, 0.81)
    level = rng.uniform(0.46, 0.54)
    return tuple(
        dataclasses.replace(
            thing,
            radius=thing.radius * (0.85 if thing.shape is Shape.STRIPE else 1.0),
            x=place + float(rng.uniform(-0.02, 0.02)),
            y=float(level + rng.uniform(-0.03, 0.03)),
        )
        for thing, place in zip(things, places, strict=True)
    )
