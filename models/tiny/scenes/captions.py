"""Scenes in words, said in many ways; some of the ways leave things out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from models.tiny.scenes.plan import (
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

COLOUR_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "grey": ("grey", "grey", "gray"),
        "purple": ("purple", "purple", "violet"),
        "turquoise": ("turquoise", "turquoise", "teal"),
    }
)
SHAPE_WORDS: Mapping[Shape | Product, tuple[str, ...]] = MappingProxyType(
    {
        Shape.CIRCLE: ("circle", "circle", "circle", "disc", "dot"),
        Shape.SQUARE: ("square",),
        Shape.TRIANGLE: ("triangle",),
        Shape.STAR: ("star",),
        Shape.RING: ("ring", "ring", "hoop"),
        Shape.CROSS: ("cross", "cross", "plus sign"),
        Shape.HEART: ("heart",),
        Shape.STRIPE: ("stripe", "stripe", "bar"),
        Product.MUG: ("mug", "mug", "cup"),
        Product.BOX: ("box",),
        Product.BOTTLE: ("bottle",),
        Product.VASE: ("vase",),
        Product.BALL: ("ball",),
    }
)
SIZE_WORDS: Mapping[Size, tuple[str, ...]] = MappingProxyType(
    {
        Size.SMALL: ("small", "small", "little", "tiny"),
        Size.LARGE: ("large", "big", "huge"),
        Size.ANY: ("",),
    }
)
PLACE_WORDS: Mapping[Place, tuple[str, ...]] = MappingProxyType(
    {
        Place.MIDDLE: ("in the middle", "in the center", "in the centre", "centered"),
        Place.LEFT: ("on the left", "on the left side"),
        Place.RIGHT: ("on the right", "on the right side"),
        Place.TOP: ("at the top",),
        Place.BOTTOM: ("at the bottom",),
        Place.TOP_LEFT: ("in the top left corner", "in the upper left corner", "at the top left"),
        Place.TOP_RIGHT: (
            "in the top right corner",
            "in the upper right corner",
            "at the top right",
        ),
        Place.BOTTOM_LEFT: (
            "in the bottom left corner",
            "in the lower left corner",
            "at the bottom left",
        ),
        Place.BOTTOM_RIGHT: (
            "in the bottom right corner",
            "in the lower right corner",
            "at the bottom right",
        ),
        Place.ANYWHERE: ("",),
    }
)
RELATION_WORDS: Mapping[Relation, tuple[str, ...]] = MappingProxyType(
    {
        Relation.LEFT_OF: ("left of", "to the left of", "on the left of"),
        Relation.RIGHT_OF: ("right of", "to the right of", "on the right of"),
        Relation.ABOVE: ("above", "over", "on top of"),
        Relation.BELOW: ("below", "under", "beneath"),
        Relation.LOOSE: ("and", "and", "next to", "with"),
    }
)
OPENINGS = (
    *("",) * 6,
    "a picture of",
    "an image of",
    "a drawing of",
    "an illustration of",
    "a simple drawing of",
    "flat design,",
)
PHOTO_OPENINGS = ("a photo of", "a photo of", "a product photo of", "a photograph of", "")
_TABLE_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"brown": ("wooden", "wooden", "brown")}
)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A prompt that this scene is a right answer to."""
    if scene.background.kind is Backing.TABLE:
        return _photo_caption(scene, rng)
    if rng.random() < 0.06:
        return _sparse(scene, rng)
    backing = _backing(scene.background, rng)
    body = _body(scene, rng)
    if not body:
        return f"{_pick(rng, ('', 'an empty ', 'just '))}{backing}".replace("just", "just a")
    opening = _pick(rng, OPENINGS)
    form = rng.random()
    if form < 0.72:
        said = f"{opening} {body} {_pick(rng, ('on', 'on', 'on', 'against', 'over'))} a {backing}"
    elif form < 0.82:
        said = f"{opening} {body}, {backing}"
    elif form < 0.92:
        said = f"{opening} {body} with a {backing}"
    else:
        said = f"{backing} with {body}"
    return _tidy(said)


def _body(scene: Scene, rng: np.random.Generator) -> str:
    """The things and where they are."""
    things = scene.things
    if not things:
        return ""
    if len(things) == 1:
        size = _pick(rng, SIZE_WORDS[scene.size])
        place = _pick(rng, PLACE_WORDS[scene.place])
        return _tidy(f"{_a(_name(things[0], rng, size))} {place}")
    if len({(thing.shape, thing.colour) for thing in things}) == 1:
        count = {2: "two", 3: "three"}[len(things)]
        row = _pick(rng, ("", "", "in a row", "side by side"))
        return _tidy(f"{count} {_plural(_name(things[0], rng))} {row}")
    names = [_a(_name(thing, rng)) for thing in things]
    if len(things) == 2:
        return _pair(scene, names, rng)
    row = _pick(rng, ("", "in a row", "side by side", "from left to right"))
    return _tidy(f"{names[0]}, {names[1]} and {names[2]} {row}")


def _pair(scene: Scene, names: Sequence[str], rng: np.random.Generator) -> str:
    first, second = names
    ends = {
        Relation.LEFT_OF: ("on the left", "on the right"),
        Relation.RIGHT_OF: ("on the right", "on the left"),
        Relation.ABOVE: ("at the top", "at the bottom"),
        Relation.BELOW: ("at the bottom", "at the top"),
    }.get(scene.relation)
    if ends and rng.random() < 0.15:
        return f"{first} {ends[0]} and {second} {ends[1]}"
    return f"{first} {_pick(rng, RELATION_WORDS[scene.relation])} {second}"


def _sparse(scene: Scene, rng: np.random.Generator) -> str:
    """Some of what there is: a colour, a shape, a background alone."""
    said = [colour_word(scene.background.colours[0], rng) + " background"]
    for thing in scene.things[:1]:
        shape = _pick(rng, SHAPE_WORDS[thing.shape])
        colour = colour_word(thing.colour, rng)
        said += [shape, _a(shape), colour, f"{colour} {shape}", _a(f"{colour} {shape}")]
    return _pick(rng, tuple(said))


def _photo_caption(scene: Scene, rng: np.random.Generator) -> str:
    wall, table = scene.background.colours
    named = table not in _TABLE_WORDS
    surface = colour_word(table, rng) if named else _pick(rng, _TABLE_WORDS[table])
    behind = f"{colour_word(wall, rng)} {_pick(rng, ('wall', 'wall', 'background'))}"
    joint = _pick(rng, (", ", " in front of a ", ", with a ", " and a "))
    place = f"{_a(surface)} table{joint}{behind}"
    if not scene.things:
        return _tidy(_pick(rng, ("on ", "", "an empty table, ", "a photo of ")) + place)
    name = _a(_name(scene.things[0], rng))
    return _tidy(f"{_pick(rng, PHOTO_OPENINGS)} {name} on {place}")


def _backing(background: Background, rng: np.random.Generator) -> str:
    """A background in words, without its article."""
    words = [colour_word(name, rng) for name in background.colours]
    canvas = _pick(rng, ("background", "background", "background", "backdrop"))
    if background.kind is Backing.PLAIN:
        return f"{_pick(rng, ('', '', '', 'plain'))} {words[0]} {canvas}".strip()
    if background.kind is Backing.GRADIENT:
        gradient = _pick(rng, ("gradient from {} to {}", "{} to {} gradient"))
        return gradient.format(*words)
    sides = ("top", "bottom") if background.upright else ("left", "right")
    plain = f"{canvas} half {words[0]}, half {words[1]}"
    exact = f"{canvas} {words[0]} at the {sides[0]} and {words[1]} at the {sides[1]}"
    return _pick(rng, (f"{words[0]} and {words[1]} {canvas}", plain, exact))


def _name(thing: Thing, rng: np.random.Generator, size: str = "") -> str:
    words = (size, colour_word(thing.colour, rng), _pick(rng, SHAPE_WORDS[thing.shape]))
    return " ".join(word for word in words if word)


def colour_word(name: str, rng: np.random.Generator) -> str:
    """One of the words for a colour."""
    return _pick(rng, COLOUR_WORDS.get(name, (name,)))


def _plural(name: str) -> str:
    return f"{name}es" if name.endswith(("cross", "box")) else f"{name}s"


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _tidy(said: str) -> str:
    """One space between words, and the article that fits."""
    words = said.split()
    for place, word in enumerate(words[:-1]):
        if word in ("a", "an"):
            words[place] = "an" if words[place + 1][0] in "aeiou" else "a"
    return " ".join(words)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
