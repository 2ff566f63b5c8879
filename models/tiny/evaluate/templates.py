"""Which of the shapes an outline has: the one that covers it best at its own size, slightly
turned; none where even that one leaves too much out."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.plan import Shape
from models.tiny.scenes.shapes import outlines

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

_SIDE = 72
_UNIT = 32.0
"""Pixels that the square root of a shape's area becomes."""
_TURNS = range(-15, 16, 3)
_STRETCHES = {Shape.STRIPE: (0.8, 0.9, 1.0, 1.12, 1.25)}
"""Of the length, at the same area: a stripe may be longer or shorter than ours."""
_LEAST = {
    Shape.CIRCLE: 0.93,
    Shape.SQUARE: 0.9,
    Shape.TRIANGLE: 0.88,
    Shape.STAR: 0.8,
    Shape.RING: 0.84,
    Shape.CROSS: 0.85,
    Shape.HEART: 0.88,
    Shape.STRIPE: 0.84,
}
"""The least intersection over union. A shape with a longer edge loses more of it to a blur. What
is drawn has 0.91 and more; a hexagon has 0.929 of a circle, a box of 1 to 1.15 0.886 of a
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
    area = float(mask.sum())
    ys, xs = np.nonzero(mask)
    x, y = float(xs.mean()), float(ys.mean())
    zoom = _UNIT / math.sqrt(area)
    middle = (_SIDE - 1) / 2
    matrix = np.array([[zoom, 0, middle - x * zoom], [0, zoom, middle - y * zoom]])
    # What is shrunk must be averaged first, or its edge becomes ragged.
    soft: Floats = mask.astype(np.float32)
    if zoom < 0.7:
        soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), 0.4 / zoom), np.float32)
    held = cv2.warpAffine(soft, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR) > 0.5
    bank = _bank()
    both = bank.masks @ held.ravel().astype(np.float32)
    overlaps = both / (bank.masks.sum(axis=1) + _UNIT**2 - both)
    best = int(np.argmax(overlaps))
    shape, overlap = bank.shapes[best], float(overlaps[best])
    radius = float(bank.scales[best]) * math.sqrt(area)
    shift = bank.centroids[best] * radius
    near = overlap >= _LEAST[shape] and (shape is Shape.RING or _hole(mask) <= _HOLE)
    place = (x - float(shift[0]), y - float(shift[1]))
    return Match(shape if near else None, *place, radius, overlap)


def _hole(mask: Mask) -> float:
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(mask.shape, np.uint8), lines, -1, 1, cv2.FILLED)
    return float(filled.sum()) / float(mask.sum()) - 1


@functools.cache
def _bank() -> _Bank:
    shapes: list[Shape] = []
    masks, scales, centroids = [], [], []
    for shape in Shape:
        for turn in _TURNS:
            for stretch in _STRETCHES.get(shape, (1.0,)):
                mask, scale, centroid = _template(shape, turn, stretch)
                shapes.append(shape)
                masks.append(mask.ravel())
                scales.append(scale)
                centroids.append(centroid)
    return _Bank(
        tuple(shapes),
        np.array(masks, np.float32),
        np.array(scales, np.float32),
        np.array(centroids, np.float32),
    )


def _template(shape: Shape, turn: float, stretch: float) -> tuple[Mask, float, Floats]:
    angle = np.radians(turn)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    lines = [line * (stretch, 1 / stretch) @ matrix for line in outlines(shape)]
    large = 400
    drawn = _filled(lines, large / 3, (large / 2, large / 2), large)
    ys, xs = np.nonzero(drawn)
    centroid = (np.array([xs.mean(), ys.mean()]) - (large - 1) / 2) / (large / 3)
    scale = 1 / (np.sqrt(float(drawn.sum())) / (large / 3))
    radius = scale * _UNIT * 4
    centre = _SIDE * 2 - centroid * radius
    fine = _filled(lines, radius, (centre[0], centre[1]), _SIDE * 4).astype(np.float32)
    mask = cv2.resize(fine, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) > 0.5
    return mask, float(scale), centroid.astype(np.float32)


def _filled(
    lines: list[NDArray[np.float64]], radius: float, centre: tuple[float, float], side: int
) -> Mask:
    points = [np.rint((line * radius + centre - 0.5) * 16).astype(np.int32) for line in lines]
    canvas = np.zeros((side, side), np.uint8)
    return np.asarray(cv2.fillPoly(canvas, points, 1, shift=4) > 0)
