"""Which of the shapes an outline has: the one that covers it best at its own size, slightly
turned; none where even that one leaves too much out."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.plan import Shape
from models.tiny.scenes.shapes import Outline, outlines

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

_SIDE = 72
_UNIT = 32.0
"""Pixels that the square root of a shape's area becomes."""
_TURNS = range(-15, 16, 3)
_CANVAS, _RADIUS = 240, 64.0
"""What templates are drawn on, and their radius, in pixels."""
_STRETCHES = (0.8, 0.9, 1.0, 1.12, 1.25)
"""Of a stripe's length, at the same area: it may be longer or shorter than ours."""
_HOLES = (0.7, 0.85, 1.0, 1.2)
"""Of a ring's inner radius, in parts of ours."""
_ROUNDINGS = (0.0, 0.14)
"""How far corners may be rounded, in radii: a small network has no sharper ones."""
_LEAST = {
    Shape.CIRCLE: 0.94,
    Shape.SQUARE: 0.9,
    Shape.TRIANGLE: 0.88,
    Shape.STAR: 0.82,
    Shape.RING: 0.77,
    Shape.CROSS: 0.84,
    Shape.HEART: 0.88,
    Shape.STRIPE: 0.83,
}
"""The least intersection over union. A shape with a longer edge loses more of it to a blur. What
is drawn has 0.91 and more; a hexagon has 0.93 of a circle, a box of 1 to 1.15 0.886 of a
square."""
_HOLE = 0.05
"""The most that may be missing inside of what is no ring, in parts of its area."""


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest shape. ``shape`` is None where it is too far off. ``radius`` and the centre are
    of the shape as :mod:`models.tiny.scenes.shapes` draws it, in pixels."""

    shape: Shape | None
    x: float
    y: float
    radius: float
    overlap: float


@dataclass(frozen=True, slots=True)
class _Bank:
    """``masks`` are one row each; ``scale`` is a radius over the square root of an area,
    ``centroids`` are in radii."""

    shapes: tuple[Shape, ...]
    masks: Floats
    scales: Floats
    centroids: Floats


def match(mask: Mask) -> Match:
    """The shape of one thing, given by its pixels (height x width)."""
    held, x, y, unit = _brought_to_size(mask)
    bank = _bank()
    both = bank.masks @ held.ravel().astype(np.float32)
    overlaps = both / (bank.masks.sum(axis=1) + _UNIT**2 - both)
    best = int(np.argmax(overlaps))
    shape, overlap = bank.shapes[best], float(overlaps[best])
    radius = float(bank.scales[best]) * unit
    shift = bank.centroids[best] * radius
    near = overlap >= _LEAST[shape] and (shape is Shape.RING or _hole(mask) <= _HOLE)
    place = (x - float(shift[0]), y - float(shift[1]))
    return Match(shape if near else None, *place, radius, overlap)


def _brought_to_size(mask: Mask) -> tuple[Mask, float, float, float]:
    """The thing in the middle of a small square; its centroid, and the square root of its area,
    in the pixels that it had."""
    unit = math.sqrt(float(mask.sum()))
    ys, xs = np.nonzero(mask)
    x, y = float(xs.mean()), float(ys.mean())
    zoom, middle = _UNIT / unit, (_SIDE - 1) / 2
    matrix = np.array([[zoom, 0, middle - x * zoom], [0, zoom, middle - y * zoom]])
    soft: Floats = mask.astype(np.float32)
    if zoom < 0.7:
        # What is shrunk must be averaged first, or its edge becomes ragged.
        soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), 0.4 / zoom), np.float32)
    held = cv2.warpAffine(soft, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR) > 0.5
    return np.asarray(held), x, y, unit


def _hole(mask: Mask) -> float:
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(mask.shape, np.uint8), lines, -1, 1, cv2.FILLED)
    return float(filled.sum()) / float(mask.sum()) - 1


@functools.cache
def _bank() -> _Bank:
    shapes: list[Shape] = []
    masks, scales, centroids = [], [], []
    for shape, (lines, turn, rounding) in _variants():
        drawn = _drawn(lines, turn, rounding)
        mask, x, y, unit = _brought_to_size(drawn)
        shapes.append(shape)
        masks.append(mask.ravel())
        scales.append(_RADIUS / unit)
        centroids.append(((x - (_CANVAS - 1) / 2) / _RADIUS, (y - (_CANVAS - 1) / 2) / _RADIUS))
    return _Bank(
        tuple(shapes),
        np.array(masks, np.float32),
        np.array(scales, np.float32),
        np.array(centroids, np.float32),
    )


def _variants() -> Iterator[tuple[Shape, tuple[list[Outline], int, float]]]:
    for shape, turn, rounding in itertools.product(Shape, _TURNS, _ROUNDINGS):
        lines = outlines(shape)
        if shape is Shape.STRIPE:
            for stretch in _STRETCHES:
                yield shape, ([line * (stretch, 1 / stretch) for line in lines], turn, rounding)
        elif shape is Shape.RING:
            for hole in _HOLES:
                yield shape, ([lines[0], lines[1] * hole], turn, rounding)
        else:
            yield shape, (lines, turn, rounding)


def _drawn(lines: list[Outline], turn: int, rounding: float) -> Mask:
    angle = math.radians(turn)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = [np.rint((line @ matrix * _RADIUS + _CANVAS / 2 - 0.5) * 16) for line in lines]
    canvas = np.zeros((_CANVAS, _CANVAS), np.float32)
    cv2.fillPoly(canvas, [each.astype(np.int32) for each in points], 1.0, shift=4)
    if rounding:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), rounding * _RADIUS), np.float32)
    return np.asarray(canvas > 0.5)
