"""Pictures of products whose mask is known exactly, as a shop might photograph them.

Thirty scenes: things with holes, thin parts and soft edges, on plain, textured, patterned and
cluttered backgrounds, some with a shadow, all with a sensor's noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.models import drawing as draw
from tests.models.drawing import Floats, Painter, Thing

Bytes = NDArray[np.uint8]

WHITE, BLACK, GREY = (242, 242, 240), (28, 28, 30), (128, 128, 130)
RED, GREEN, BLUE = (200, 40, 45), (46, 125, 62), (40, 75, 190)
YELLOW, ORANGE, PURPLE = (235, 200, 50), (232, 125, 35), (120, 60, 150)
PINK, BROWN, TEAL = (230, 130, 165), (112, 70, 42), (30, 140, 145)
CREAM, SAND, SKY = (235, 225, 200), (205, 180, 140), (150, 190, 225)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and what is true of it.

    ``image`` is height x width x 3, ``alpha`` the product's exact coverage (height x width),
    ``product`` its own colours wherever it covers anything (height x width x 3).
    """

    name: str
    image: Bytes
    alpha: Bytes
    product: Bytes

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where the product covers at least half of a pixel."""
        return self.alpha > 127


def bottle(t: Thing) -> None:
    t.polygon(
        [(0.3, 0.35), (0.42, 0.22), (0.42, 0.08), (0.58, 0.08), (0.58, 0.22), (0.7, 0.35)], GREEN
    )
    t.rectangle(0.3, 0.34, 0.7, 1, GREEN, 0.04)
    t.rectangle(0.405, 0, 0.595, 0.09, BLACK, 0.01)
    t.rectangle(0.3, 0.5, 0.7, 0.8, CREAM)
    t.rectangle(0.36, 0.58, 0.64, 0.63, RED)


def shoe(t: Thing) -> None:
    upper = [
        (0.02, 0.3),
        (0.25, 0.22),
        (0.36, 0.3),
        (0.55, 0.48),
        (0.9, 0.56),
        (0.99, 0.7),
        (0.98, 0.86),
        (0.02, 0.86),
    ]
    t.polygon(upper, RED)
    t.rectangle(0, 0.8, 1, 0.96, WHITE, 0.06)
    for x in (0.38, 0.46, 0.54):
        t.line([(x - 0.05, 0.56), (x + 0.07, 0.46)], 0.02, CREAM)
    t.polygon([(0.1, 0.62), (0.3, 0.72), (0.6, 0.62), (0.3, 0.78)], BLACK)


def mug(t: Thing) -> None:
    t.ellipse(0.55, 0.2, 1, 0.75, BLUE)
    t.ellipse(0.62, 0.3, 0.9, 0.64, None)
    t.rectangle(0, 0.05, 0.72, 1, BLUE, 0.08)
    t.ellipse(0.0, 0.0, 0.72, 0.12, (60, 100, 215))
    t.rectangle(0.15, 0.4, 0.55, 0.65, YELLOW, 0.04)


def ring(t: Thing) -> None:
    t.ellipse(0, 0, 1, 1, YELLOW)
    t.ellipse(0.17, 0.17, 0.83, 0.83, None)


def star(t: Thing) -> None:
    turns = [math.pi * i / 5 - math.pi / 2 for i in range(10)]
    reach = [0.5 if i % 2 == 0 else 0.22 for i in range(10)]
    t.polygon(
        [(0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for a, r in zip(turns, reach, strict=True)],
        ORANGE,
    )


def cross(t: Thing) -> None:
    t.rectangle(0.34, 0, 0.66, 1, PURPLE)
    t.rectangle(0, 0.34, 1, 0.66, PURPLE)


def plant(t: Thing) -> None:
    for i, lean in enumerate((-0.45, -0.28, -0.1, 0.08, 0.26, 0.43)):
        tip = (0.5 + lean, 0.02 + 0.35 * abs(lean))
        middle = (0.5 + lean * 0.45, 0.35)
        t.line([(0.5, 0.7), middle, tip], 0.035, GREEN)
        side = 0.1 if i % 2 else -0.1
        t.ellipse(
            middle[0] + side - 0.07,
            0.2 + 0.03 * i,
            middle[0] + side + 0.07,
            0.27 + 0.03 * i,
            (60, 150, 70),
        )
    t.polygon([(0.3, 0.68), (0.7, 0.68), (0.64, 1), (0.36, 1)], BROWN)


def bag(t: Thing) -> None:
    t.ellipse(0.25, 0, 0.75, 0.7, BROWN)
    t.ellipse(0.32, 0.08, 0.68, 0.62, None)
    t.polygon([(0.08, 0.34), (0.92, 0.34), (1, 1), (0, 1)], TEAL)
    t.rectangle(0.42, 0.42, 0.58, 0.55, YELLOW, 0.02)


def chair(t: Thing) -> None:
    for x in (0.12, 0.82):
        t.rectangle(x, 0.5, x + 0.06, 1, BROWN)
    for x in (0.27, 0.67):
        t.rectangle(x, 0.5, x + 0.05, 0.9, BROWN)
    t.rectangle(0.1, 0.0, 0.9, 0.42, RED, 0.06)
    t.rectangle(0.08, 0.48, 0.92, 0.6, RED, 0.04)
    for x in (0.2, 0.74):
        t.rectangle(x, 0.4, x + 0.06, 0.5, BROWN)


def toy(t: Thing) -> None:
    for x in (0.14, 0.62):
        t.ellipse(x, 0, x + 0.24, 0.22, BROWN)
    t.ellipse(0.15, 0.04, 0.85, 0.5, BROWN)
    t.ellipse(0.08, 0.4, 0.92, 1, BROWN)
    t.ellipse(0.26, 0.52, 0.74, 0.92, SAND)
    t.ellipse(0.36, 0.26, 0.64, 0.44, SAND)
    for x in (0.34, 0.58):
        t.ellipse(x, 0.18, x + 0.07, 0.25, BLACK)


def lamp(t: Thing) -> None:
    t.polygon([(0.25, 0), (0.75, 0), (1, 0.42), (0, 0.42)], CREAM)
    t.rectangle(0.46, 0.42, 0.54, 0.92, BLACK)
    t.ellipse(0.22, 0.86, 0.78, 1, BLACK)


def headphones(t: Thing) -> None:
    t.ellipse(0.08, 0, 0.92, 0.95, BLACK)
    t.ellipse(0.17, 0.09, 0.83, 0.95, None)
    t.rectangle(0.1, 0.62, 0.9, 1, None)
    for x in (0, 0.78):
        t.rectangle(x, 0.45, x + 0.22, 0.85, (70, 70, 78), 0.08)


def watch(t: Thing) -> None:
    t.rectangle(0.32, 0, 0.68, 1, BROWN, 0.06)
    t.ellipse(0.08, 0.3, 0.92, 0.7, GREY)
    t.ellipse(0.15, 0.335, 0.85, 0.665, WHITE)
    t.line([(0.5, 0.5), (0.5, 0.38)], 0.03, BLACK)
    t.line([(0.5, 0.5), (0.68, 0.54)], 0.03, BLACK)


def pair(t: Thing) -> None:
    for x, colour in ((0, PINK), (0.56, TEAL)):
        t.polygon([(x, 0.1), (x + 0.44, 0.1), (x + 0.36, 1), (x + 0.08, 1)], colour)
        t.ellipse(x, 0, x + 0.44, 0.2, tuple(min(255, c + 20) for c in colour))


def can(t: Thing) -> None:
    t.rectangle(0, 0.04, 1, 0.96, WHITE, 0.12)
    t.rectangle(0, 0.3, 1, 0.7, RED)
    t.ellipse(0.3, 0.36, 0.7, 0.64, WHITE)


def scissors(t: Thing) -> None:
    for x in (0, 0.56):
        t.ellipse(x, 0.62, x + 0.44, 1, ORANGE)
        t.ellipse(x + 0.1, 0.7, x + 0.34, 0.93, None)
    t.polygon([(0.3, 0.66), (0.42, 0.66), (0.72, 0.02), (0.62, 0.02)], GREY)
    t.polygon([(0.58, 0.66), (0.7, 0.66), (0.38, 0.02), (0.28, 0.02)], (150, 150, 155))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a scene is made from; ``box`` is the product's, in shares of the picture."""

    name: str
    thing: Callable[[Thing], None]
    behind: Painter
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    noise: float = 3.0
    softness: float = 0.7
    shadow: float = 0.0
    jpeg: int = 0


_MIDDLE = (0.28, 0.2, 0.44, 0.6)
_TALL = (0.3, 0.12, 0.4, 0.76)
_WIDE = (0.2, 0.32, 0.6, 0.38)
_ROUND = (0.25, 0.22, 0.5, 0.5)

_BOOKS = ((150, 60, 50), (60, 90, 120), (190, 170, 120), (90, 120, 90), (60, 50, 60))
_ROOM = draw.two_tone((205, 200, 190), (150, 115, 85), 0.7)

RECIPES = (
    Recipe("bottle-plain", bottle, draw.plain((215, 215, 218)), (640, 640), _TALL, shadow=0.3),
    Recipe("bottle-wood", bottle, draw.wood((120, 80, 50), (190, 140, 95)), (768, 768), _TALL),
    Recipe(
        "bottle-books",
        bottle,
        draw.cluttered(_ROOM, _BOOKS, 9, 2.5, 0.38),
        (720, 720),
        _TALL,
        shadow=0.2,
    ),
    Recipe(
        "shoe-white",
        shoe,
        draw.vignette((250, 250, 250), (205, 208, 212)),
        (768, 576),
        _WIDE,
        shadow=0.45,
    ),
    Recipe("shoe-fabric", shoe, draw.fabric((70, 80, 105), 10), (800, 600), _WIDE),
    Recipe("shoe-grass", shoe, draw.speckled((95, 140, 60), 22), (640, 512), _WIDE),
    Recipe(
        "mug-two-tone",
        mug,
        draw.two_tone((225, 215, 200), (165, 125, 90), 0.62),
        (640, 640),
        _ROUND,
        shadow=0.3,
    ),
    Recipe(
        "mug-wood", mug, draw.wood((150, 105, 65), (205, 165, 115)), (1024, 1024), _ROUND, noise=4
    ),
    Recipe(
        "mug-clutter-behind", mug, draw.cluttered(_ROOM, _BOOKS, 12, 6, 0.0), (640, 640), _ROUND
    ),
    Recipe(
        "ring-gradient", ring, draw.gradient((40, 45, 70), (130, 90, 140), 0.6), (512, 512), _ROUND
    ),
    Recipe("ring-speckled", ring, draw.speckled((110, 110, 120), 16), (640, 640), _ROUND),
    Recipe(
        "star-sky", star, draw.gradient((110, 160, 220), (215, 230, 245), 1.57), (512, 512), _ROUND
    ),
    Recipe("star-tiles", star, draw.tiled((205, 210, 215), (165, 175, 185), 8), (640, 640), _ROUND),
    Recipe("cross-noisy", cross, draw.plain((170, 180, 150)), (512, 512), _ROUND, noise=14),
    Recipe("cross-fabric", cross, draw.fabric((190, 185, 150), 14), (640, 640), _ROUND),
    Recipe("plant-wall", plant, draw.plain((228, 222, 214)), (640, 768), _TALL, shadow=0.2),
    Recipe("plant-room", plant, draw.cluttered(_ROOM, _BOOKS, 8, 5, 0.42), (768, 768), _TALL),
    Recipe(
        "bag-gradient",
        bag,
        draw.gradient((235, 225, 215), (180, 165, 160), 1.2),
        (640, 640),
        _MIDDLE,
        shadow=0.3,
    ),
    Recipe(
        "bag-market",
        bag,
        draw.cluttered(draw.speckled((150, 140, 130), 8), _BOOKS, 14, 4, 0.1),
        (768, 768),
        _MIDDLE,
    ),
    Recipe(
        "chair-room",
        chair,
        draw.two_tone((205, 212, 205), (160, 150, 140), 0.75),
        (640, 768),
        _MIDDLE,
        shadow=0.25,
    ),
    Recipe("toy-speckled", toy, draw.speckled((170, 195, 200), 14), (640, 640), _MIDDLE),
    Recipe(
        "toy-soft", toy, draw.plain((120, 160, 190)), (640, 640), _MIDDLE, softness=3.0, jpeg=88
    ),
    Recipe("lamp-dark", lamp, draw.vignette((90, 75, 70), (40, 34, 36)), (640, 640), _MIDDLE),
    Recipe(
        "headphones-desk",
        headphones,
        draw.wood((175, 140, 100), (215, 185, 145)),
        (768, 768),
        _ROUND,
        shadow=0.2,
    ),
    Recipe(
        "watch-marble",
        watch,
        draw.speckled((220, 218, 214), 7),
        (640, 640),
        (0.36, 0.12, 0.28, 0.76),
    ),
    Recipe(
        "pair-table",
        pair,
        draw.two_tone((190, 200, 205), (120, 90, 70), 0.55),
        (800, 600),
        _WIDE,
        shadow=0.3,
    ),
    Recipe(
        "can-green",
        can,
        draw.gradient((70, 110, 80), (150, 180, 130), 0.3),
        (512, 640),
        (0.33, 0.2, 0.34, 0.6),
    ),
    Recipe(
        "can-shelf",
        can,
        draw.cluttered(draw.plain((180, 170, 160)), _BOOKS, 10, 3, 0.36),
        (640, 640),
        (0.34, 0.22, 0.32, 0.56),
        shadow=0.3,
    ),
    Recipe(
        "scissors-mat", scissors, draw.tiled((60, 110, 95), (70, 122, 106), 16), (640, 768), _MIDDLE
    ),
    Recipe(
        "glass-soft",
        ring,
        draw.gradient((60, 90, 90), (170, 200, 190), 2.2),
        (640, 640),
        _ROUND,
        softness=4.0,
        noise=4,
    ),
)


@functools.cache
def scene(name: str, seed: int = 0) -> Scene:
    """One scene by its name; another seed is the same recipe with other light and noise."""
    recipe = next(r for r in RECIPES if r.name == name)
    return make(recipe, seed)


def make(recipe: Recipe, seed: int = 0) -> Scene:
    """Draw a scene."""
    random = np.random.default_rng([seed, *recipe.name.encode()])
    width, height = recipe.size
    thing = Thing(recipe.size, recipe.box)
    recipe.thing(thing)
    cover, colours = thing.finished(random, recipe.softness)
    behind = recipe.behind(random, height, width)
    behind = behind * _shadow(cover, recipe)[..., None]
    mixed = colours * cover[..., None] + behind * (1 - cover[..., None])
    image = draw.photographed(mixed, random, recipe.noise)
    if recipe.jpeg:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, recipe.jpeg])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    alpha = np.rint(cover * 255).astype(np.uint8)
    return Scene(recipe.name, image, alpha, np.rint(colours).astype(np.uint8))


def _shadow(cover: Floats, recipe: Recipe) -> Floats:
    """How much light is left on the background, 0 to 1: a soft pool below the thing."""
    if not recipe.shadow:
        return np.ones_like(cover)
    height, width = cover.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    left, top, wide, high = recipe.box
    u = (x / width - left - wide / 2) / (wide * 0.62)
    v = (y / height - top - high) / 0.045
    pool = np.exp(-(u**4) - v * v)
    return np.asarray(1 - recipe.shadow * pool, np.float32)
