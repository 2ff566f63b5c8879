"""Drawn people and clothes, of which it is known where each garment and limb lies."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.models import drawing as draw
from tests.models.drawing import Colour, Painter, Points

Pixels = NDArray[np.uint8]
Polygon = list[tuple[float, float]]

# What a parser of people calls their parts, in the order of the ATR data set.
LABELS = (
    "Background",
    "Hat",
    "Hair",
    "Sunglasses",
    "Upper-clothes",
    "Skirt",
    "Pants",
    "Dress",
    "Belt",
    "Left-shoe",
    "Right-shoe",
    "Face",
    "Left-leg",
    "Right-leg",
    "Left-arm",
    "Right-arm",
    "Bag",
    "Scarf",
)
NUMBERS = {name: number for number, name in enumerate(LABELS)}

SKIN, HAIR, SHOE = (222, 178, 150), (66, 44, 34), (44, 40, 46)
WALL = draw.vignette((226, 228, 230), (196, 200, 206))
_FINER = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """Somebody who stands before a wall.

    ``size`` is (width, height); ``sleeves`` from 0 (none) to 1 (to the wrists); long hair
    falls over the shoulders. Where
    ``dress`` is set it is worn in place of the other two.
    """

    size: tuple[int, int] = (360, 480)
    top: Colour = (70, 110, 170)
    bottom: Colour = (58, 62, 84)
    dress: Colour | None = None
    sleeves: float = 0.4
    skin: Colour = SKIN
    wall: Painter = field(default=WALL)
    turned_away: bool = False
    long_hair: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, height x width x 3, and the number in ``LABELS`` of each pixel."""

    picture: Pixels
    labels: NDArray[np.int64]

    def where(self, *names: str) -> NDArray[np.bool_]:
        """The pixels of any of these parts."""
        return np.isin(self.labels, [NUMBERS[name] for name in names])


@functools.lru_cache(maxsize=32)
def person(figure: Figure = Figure(), seed: int = 0) -> Drawn:
    """Draw somebody from head to foot; do not write into what comes back."""
    random = np.random.default_rng([seed, 17])
    width, height = figure.size
    size = (width * _FINER, height * _FINER)
    labels = np.zeros((size[1], size[0]), np.uint8)
    colours = np.asarray(figure.wall(random, size[1], size[0]), np.float32)
    for name, points, colour in _parts(figure):
        mask = np.zeros_like(labels)
        cv2.fillPoly(mask, [_placed(points, size)], 1, cv2.LINE_8)
        labels[mask > 0] = NUMBERS[name]
        colours[mask > 0] = colour
    if not figure.turned_away:
        _face(colours, size)
    body = (labels > 0).astype(np.uint8)
    colours *= _light(random, body, labels)[..., None]
    small = cv2.resize(colours, figure.size, interpolation=cv2.INTER_AREA)
    known = labels[::_FINER, ::_FINER].astype(np.int64)
    return Drawn(draw.photographed(small, random, 2.0), known)


@functools.lru_cache(maxsize=8)
def shirt(
    size: tuple[int, int] = (150, 160),
    colour: Colour = (190, 40, 50),
    stripe: Colour | None = (245, 235, 225),
    sleeves: float = 0.5,
) -> Pixels:
    """A shirt as a shop shows it, laid flat on white: height x width x 3."""
    low = 0.24 + 0.36 * sleeves
    half: Polygon = [(0.62, 0.08), (0.72, 0.12), (0.74 + 0.22 * sleeves, low)]
    half += [(0.62 + 0.24 * sleeves, low + 0.04), (0.7, 0.3), (0.7, 0.94)]
    outline = [*half, *((1 - x, y) for x, y in reversed(half))]
    hole: Polygon = [(0.42, 0.06), (0.58, 0.06), (0.55, 0.12), (0.5, 0.14), (0.45, 0.12)]
    bands = [0.42, 0.52, 0.62] if stripe else []
    return _laid_flat(size, [outline], hole, colour, [(y, 0.04, stripe) for y in bands if stripe])


@functools.lru_cache(maxsize=8)
def trousers(size: tuple[int, int] = (120, 180), colour: Colour = (165, 130, 80)) -> Pixels:
    """Trousers laid flat on white: height x width x 3."""
    outline: Polygon = [(0.27, 0.05), (0.73, 0.05), (0.8, 0.3), (0.78, 0.95), (0.57, 0.95)]
    outline += [(0.5, 0.38), (0.43, 0.95), (0.22, 0.95), (0.2, 0.3)]
    return _laid_flat(size, [outline], None, colour, [(0.06, 0.02, (90, 66, 40))])


@functools.lru_cache(maxsize=8)
def gown(size: tuple[int, int] = (130, 200), colour: Colour = (30, 130, 90)) -> Pixels:
    """A sleeveless dress laid flat on white: height x width x 3."""
    outline: Polygon = [(0.36, 0.05), (0.64, 0.05), (0.68, 0.2), (0.64, 0.36), (0.88, 0.95)]
    outline += [(0.12, 0.95), (0.36, 0.36), (0.32, 0.2)]
    hole: Polygon = [(0.42, 0.03), (0.58, 0.03), (0.5, 0.13)]
    return _laid_flat(size, [outline], hole, colour, [(0.36, 0.02, (240, 220, 120))])


def _laid_flat(
    size: tuple[int, int],
    outlines: list[Polygon],
    hole: Polygon | None,
    colour: Colour,
    bands: list[tuple[float, float, Colour]],
) -> Pixels:
    random = np.random.default_rng(23)
    large = (size[0] * _FINER, size[1] * _FINER)
    mask = np.zeros((large[1], large[0]), np.uint8)
    for outline in outlines:
        cv2.fillPoly(mask, [_placed(outline, large)], 1, cv2.LINE_8)
    if hole:
        cv2.fillPoly(mask, [_placed(hole, large)], 0, cv2.LINE_8)
    colours = np.full((*mask.shape, 3), (248, 248, 248), np.float32)
    cloth = np.full_like(colours, colour)
    for top, thick, shade in bands:
        cloth[int(top * large[1]) : int((top + thick) * large[1])] = shade
    cloth *= (1 + 0.06 * draw.octaves(random, *mask.shape, 3))[..., None]
    colours[mask > 0] = cloth[mask > 0]
    small = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
    return draw.photographed(small, random, 1.5)


def _parts(figure: Figure) -> Iterator[tuple[str, Points, Colour]]:
    """From back to front: what it is, its outline in shares of the height from the middle of
    the picture's upper edge, and its colour."""
    skin = figure.skin
    yield "Hair", _ellipse(0, 0.105, 0.062, 0.075), HAIR
    if not figure.turned_away:
        yield "Face", [(-0.027, 0.13), (0.027, 0.13), (0.03, 0.21), (-0.03, 0.21)], skin
    for side, name in ((-1, "Left-leg"), (1, "Right-leg")):
        leg: Points = [(0.0, 0.53), (0.08, 0.53), (0.072, 0.72), (0.062, 0.92), (0.02, 0.92)]
        yield name, _mirrored(leg, side), skin
    for side, name in ((-1, "Left-shoe"), (1, "Right-shoe")):
        shoe: Points = [(0.015, 0.915), (0.066, 0.915), (0.085, 0.955), (0.012, 0.955)]
        yield name, _mirrored(shoe, side), SHOE
    for side, name in ((-1, "Left-arm"), (1, "Right-arm")):
        yield name, _mirrored(_arm(1.0), side), skin
    torso: Points = [(0.035, 0.185), (0.1, 0.2), (0.118, 0.24), (0.098, 0.34), (0.088, 0.4)]
    if figure.dress is None:
        trouser: Points = [(0.0, 0.46), (0.096, 0.46), (0.104, 0.54), (0.084, 0.91), (0.012, 0.91)]
        for side in (-1, 1):
            yield "Pants", _mirrored(trouser, side), figure.bottom
        whole, hem, name, colour = torso, [(0.1, 0.5), (0.0, 0.5)], "Upper-clothes", figure.top
    else:
        whole, hem, name, colour = torso, [(0.16, 0.74), (0.0, 0.75)], "Dress", figure.dress
    for side in (-1, 1):
        neck: Points = [(0.0, 0.21)]
        yield name, _mirrored([*neck, *whole, *hem], side), colour
        if figure.sleeves > 0:
            yield name, _mirrored(_arm(figure.sleeves, 0.008), side), colour
    if not figure.turned_away:
        yield "Face", [(-0.035, 0.18), (0.035, 0.18), (0.0, 0.225)], skin
        yield "Face", _ellipse(0, 0.112, 0.047, 0.062), skin
        fringe: Points = [(-0.05, 0.1), (-0.04, 0.05), (0.04, 0.05), (0.05, 0.1), (0.0, 0.075)]
        yield "Hair", fringe, HAIR
        if figure.long_hair:
            for side in (-1, 1):
                lock: Points = [(0.04, 0.09), (0.062, 0.1), (0.075, 0.3), (0.045, 0.31)]
                yield "Hair", _mirrored(lock, side), HAIR


def _arm(share: float, wider: float = 0.0) -> Points:
    """The first share of an arm, from the shoulder down; ``wider`` is what a sleeve adds."""
    start, end = np.array((0.1, 0.215)), np.array((0.165, 0.53))
    end = start + (end - start) * share
    half = np.array((0.03, -0.005)) * (1 - 0.35 * share) + (wider, 0)
    tip = np.array((0.0, 0.012))
    outline = [
        start - half,
        start + np.array((0.02, -0.012)),
        start + half,
        end + half,
        end + tip,
        end - half,
    ]
    return [(float(x), float(y)) for x, y in outline]


def _ellipse(x: float, y: float, across: float, along: float) -> Points:
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return [(x + across * np.cos(t), y + along * np.sin(t)) for t in turns]


def _mirrored(points: Points, side: int) -> Points:
    return [(side * x, y) for x, y in points]


def _placed(points: Points, size: tuple[int, int]) -> NDArray[np.int32]:
    """Shares of the height from the middle (people) or of the sides (clothes), in pixels."""
    array = np.asarray(points, np.float64)
    if array[:, 0].min() < 0 or array[:, 0].max() < 0.2:  # mirrored around the middle
        return np.rint(array * size[1] + (size[0] / 2, 0)).astype(np.int32)
    return np.rint(array * size).astype(np.int32)


def _face(colours: NDArray[np.float32], size: tuple[int, int]) -> None:
    for x in (-0.02, 0.02):
        centre = (round(size[0] / 2 + x * size[1]), round(0.108 * size[1]))
        cv2.circle(colours, centre, max(1, round(0.006 * size[1])), (50, 40, 40), -1)
    mouth = (round(size[0] / 2), round(0.145 * size[1]))
    axes = (max(1, round(0.016 * size[1])), max(1, round(0.004 * size[1])))
    cv2.ellipse(colours, mouth, axes, 0, 0, 360, (170, 80, 85), -1)


def _light(random: draw.Random, body: Pixels, labels: Pixels) -> NDArray[np.float32]:
    """Light from the left upper side, rounded limbs, and folds in the clothes."""
    height, width = body.shape
    depth = cv2.distanceTransform(body, cv2.DIST_L2, 5)
    rounded = 0.78 + 0.22 * np.clip(depth / (0.03 * height), 0, 1) ** 0.6
    folds = draw.octaves(random, height, width, 4, 2.5)
    cloth = np.isin(labels, [NUMBERS[n] for n in ("Upper-clothes", "Pants", "Dress")])
    across = np.linspace(0.06, -0.06, width, dtype=np.float32)[None, :]
    lit = rounded * (1 + across + np.where(cloth, 0.22, 0.05) * folds)
    return np.where(body > 0, lit, 1).astype(np.float32)
