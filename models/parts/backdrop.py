"""How badly a picture's background explains each of its pixels.

A pixel that looks like the background near it, or like its shade, is background even inside
a handle; one that does not is the thing, even where its colour is close. Distances are told
as multiples of what background pixels themselves show, so that a rough wall allows more than
a smooth one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from models.parts.pictures import Pixels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SAMPLES, _HELD_OUT, _SAMPLES_MIN = 4000, 2000, 200
_PLACE_WEIGHT = 5.0
"""Lab units that a distance as long as the picture counts for."""
_SMOOTH = 4.0
"""A polynomial counts as the background where it is this close, in Lab units."""
_DARKEST = 0.6
"""A shadow leaves e^-0.6, 55 percent, of the light, or more."""
_TONE_WEIGHT = 60.0
"""Lab units that one unit of log colour counts for; the two agree in the middle tones."""


@dataclass(frozen=True, slots=True)
class Small:
    """A picture made small, its noise taken out but not its edges: 8-bit RGB, and Lab."""

    rgb: Pixels
    lab: Floats

    @classmethod
    def of(cls, colours: Pixels, side: int) -> Small:
        """Of a picture (height x width x 3): no longer than ``side``."""
        height, width = colours.shape[:2]
        factor = min(1.0, side / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        shrunk = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
        rgb = np.asarray(cv2.bilateralFilter(shrunk, 7, 30, 3), np.uint8)
        lab = cv2.cvtColor(rgb.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
        return cls(rgb, np.asarray(lab, np.float32))


@dataclass(frozen=True, slots=True)
class Unexplained:
    """Height x width each, 0 outside the region in question; about 1 is usual background.

    ``plain`` takes the background as it is, ``shaded`` also in its own shadow.
    """

    plain: Floats
    shaded: Floats


def unexplained(small: Small, inside: Mask) -> Unexplained | None:
    """How badly the pixels outside ``inside`` explain those in it.

    None where too little is outside to say.
    """
    outside = np.flatnonzero(~inside.ravel())
    if len(outside) < _SAMPLES_MIN or not inside.any():
        return None
    # Any fixed order will do, as long as it has nothing to do with the place.
    order = np.random.default_rng(0).permutation(outside)
    known, held_out = np.array_split(order[: _SAMPLES + _HELD_OUT], [len(order[:_SAMPLES])])
    if len(held_out) < _SAMPLES_MIN // 2:
        known, held_out = order[::2], order[1::2]
    asked = np.flatnonzero(inside.ravel())
    places = _places(inside).reshape(-1, 2)
    lab = np.concatenate([small.lab.reshape(-1, 3), places], axis=1)
    plain = _near_colours(lab, known, held_out, asked)
    plain = np.minimum(plain, _smooth(small.lab, known, asked))
    shaded = np.minimum(plain, _near_shades(small.rgb, places, known, held_out, asked))
    return Unexplained(*(_laid_out(values, asked, inside) for values in (plain, shaded)))


def _laid_out(values: Floats, asked: NDArray[np.int64], inside: Mask) -> Floats:
    out = np.zeros(inside.size, np.float32)
    out[asked] = values
    return out.reshape(inside.shape)


def _places(inside: Mask) -> Floats:
    """Where each pixel counts as being, height x width x 2: in the region, at the nearest
    pixel outside it. The middle of a large thing is not far from the background for that."""
    height, width = inside.shape
    _, labels = cv2.distanceTransformWithLabels(
        inside.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    y, x = np.nonzero(~inside)
    nearest = np.zeros((int(labels.max()) + 1, 2), np.float32)
    nearest[labels[y, x]] = np.stack([x, y], axis=1)
    return np.asarray(nearest[labels] * (_PLACE_WEIGHT / max(height, width)), np.float32)


def _near_colours(
    points: Floats,
    known: NDArray[np.int64],
    held_out: NDArray[np.int64],
    asked: NDArray[np.int64],
) -> Floats:
    """Distance to the second nearest sample; the nearest may be a speck of something else."""
    tree = cKDTree(points[known])
    usual = float(np.quantile(tree.query(points[held_out], k=2)[0][:, 1], 0.9))
    distance = tree.query(points[asked], k=2, eps=0.3)[0][:, 1]
    return np.asarray(distance / max(0.5, usual), np.float32)


def _near_shades(
    rgb: Pixels,
    places: Floats,
    known: NDArray[np.int64],
    held_out: NDArray[np.int64],
    asked: NDArray[np.int64],
) -> Floats:
    """The same where a sample may be made darker: a shadow keeps the colour's own tone."""
    logs = np.log(rgb.reshape(-1, 3).astype(np.float32) + 8)
    tones = _TONE_WEIGHT * (logs[:, :2] - logs[:, 1:])
    points = np.concatenate([tones, places], axis=1)
    light = logs.mean(axis=1)
    tree = cKDTree(points[known])

    def distances(wanted: NDArray[np.int64]) -> Floats:
        apart, which = tree.query(points[wanted], k=6, eps=0.3)
        darker = light[known][which] - light[wanted][:, None]
        brighter_cost = -_TONE_WEIGHT * darker
        shadow_cost = 4 * darker + _TONE_WEIGHT * np.maximum(0, darker - _DARKEST)
        cost = np.where(darker < 0, brighter_cost, shadow_cost)
        return np.asarray(np.sort(np.hypot(apart, cost), axis=1)[:, 1], np.float32)

    usual = float(np.quantile(distances(held_out), 0.9))
    return np.asarray(distances(asked) / max(0.5, usual), np.float32)


def _smooth(lab: Floats, known: NDArray[np.int64], asked: NDArray[np.int64]) -> Floats:
    """Distance from a background that changes evenly, as light on a backdrop does; infinite
    where the background is not of that kind."""
    height, width = lab.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / max(height, width) - 0.5
    x, y = x.ravel(), y.ravel()
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=1)
    colours = lab.reshape(-1, 3).astype(np.float64)
    weights = np.ones(len(known))
    for _ in range(3):  # things in the background must not bend it
        system = terms[known].T * weights**2
        slack = 1e-9 * len(known) * np.eye(terms.shape[1])  # where all samples lie in a line
        found = np.linalg.solve(system @ terms[known] + slack, system @ colours[known])
        rest = np.linalg.norm(terms[known] @ found - colours[known], axis=1)
        weights = 1 / np.maximum(1, rest / (1.5 * np.median(rest) + 0.3))
    usual = float(np.quantile(rest, 0.9))
    if usual >= _SMOOTH:
        return np.full(len(asked), np.inf, np.float32)
    distance = np.linalg.norm(terms[asked] @ found - colours[asked], axis=1)
    return np.asarray(distance / max(0.5, usual), np.float32)
