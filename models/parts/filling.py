"""Filling a hole in a picture without a network.

A place nearby that resembles the hole's surroundings lends its texture; what still differs
around the hole, its light and colour, is carried inwards by Telea's fast marching ("An image
inpainting technique based on the fast marching method", 2004), from coarse to fine.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.holes import bounds, grown
from models.parts.pictures import Pixels

Floats = NDArray[np.float32]
Points = NDArray[np.intp]

RING_PIXELS = 12
"""How far around a hole its surroundings are compared, in pixels."""
_SMOOTHING = 1.5
"""Blur of what is compared: noise is no resemblance."""
_POINTS_MAX = 800
"""So many pixels of the ring, and of the hole, stand for all of them."""
_DIRECTIONS, _DISTANCES = 24, (0.4, 0.7, 1.05, 1.3, 1.7, 2.3, 3.0)
_REFINED = 4
_COVERED_MIN = 0.15
_UNCOVERED = 12
_ROUNDS = 6
"""So many places may lend to one hole, each to a part of it."""
_TELEA_RADIUS = 5
_CELLS = (24, 48, 96, 192)
"""Cells across a hole, from coarse to fine. The marching leaves creases where its fronts meet;
relaxing wipes them out at the coarsest level, where that is a matter of few steps."""
_RELAXED = (120, 24, 12, 8)


def filled(picture: Pixels, hole: Pixels, textured: bool = True) -> Pixels:
    """The picture (height x width x 3) with its hole (height x width, 255 where) filled.

    Deterministic. The hole may be of any shape and touch the edge; where the hole is the whole
    picture, it is returned as it is. ``textured`` False lends nothing from elsewhere: for
    channels without a texture, such as alpha.
    """
    if not hole.any() or hole.all():
        return picture
    out, left = picture.copy(), hole.copy()
    for _ in range(_ROUNDS if textured else 0):
        shift = _source(out, left)
        if shift is None or not left.any():
            break
        _fill_from(out, left, shift)
    if left.any():
        _fill_from(out, left, None)
    return out


def _fill_from(picture: Pixels, hole: Pixels, shift: tuple[int, int] | None) -> None:
    """Fill, in place, what a place ``shift`` away has something for, and take it out of the
    hole; without a shift, fill all of it from its edge."""
    left, top, right, bottom = bounds(hole, RING_PIXELS + 4)
    here = slice(top, bottom), slice(left, right)
    part, missing = picture[here].astype(np.float32), hole[here] > 0
    guide, blank = np.zeros_like(part), np.zeros_like(missing)
    if shift is not None:
        guide, blank = _lent(picture, hole, here, shift)
    made = guide + _carried(part - guide, ~missing & ~blank, missing | blank)
    low, high = _range(part, ~missing)
    now = missing & ~blank
    picture[here][now] = np.rint(np.clip(made, low, high)).astype(np.uint8)[now]
    hole[here][now] = 0


def _range(part: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The darkest and the brightest that may be made of each channel, with room for texture."""
    values = part[known]
    if not len(values):
        return np.zeros(3, np.float32), np.full(3, 255, np.float32)
    return values.min(axis=0), values.max(axis=0)


@dataclass(frozen=True, slots=True)
class _Around:
    """What a place is judged by: pixels (count x 2: y, x) of the ring and of the hole."""

    smooth: Pixels
    usable: NDArray[np.bool_]
    ring: Points
    inside: Points

    def score(self, shift: tuple[int, int]) -> float:
        """How unlike the hole's surroundings a place is, in levels of 255; infinite where it
        is not in the picture. Another light or tint counts little: that can be corrected."""
        ring, there = self._at(self.ring, shift)
        hole, filler = self._at(self.inside, shift)
        covered = len(hole) / len(self.inside)
        if covered < _COVERED_MIN or len(ring) < 0.5 * len(self.ring):
            return float("inf")
        wanted = self.smooth[ring[:, 0], ring[:, 1]].astype(np.float32)
        found = self.smooth[there[:, 0], there[:, 1]].astype(np.float32)
        lent = self.smooth[filler[:, 0], filler[:, 1]].astype(np.float32)
        offset = wanted - found
        light = offset.mean(axis=0)
        unlike = float(np.abs(offset - light).mean())
        # A ring may fit around a thing that does not belong into the hole.
        middle = found.mean(axis=0)
        strange = float(np.abs(lent - middle).mean() - np.abs(found - middle).mean())
        return (
            unlike
            + 0.15 * float(np.abs(light).mean())
            + max(0, strange)
            + _UNCOVERED * (1 - covered)
        )

    def _at(self, points: Points, shift: tuple[int, int]) -> tuple[Points, Points]:
        """The points that are usable when shifted, and where they come to lie."""
        moved = points + shift
        height, width = self.usable.shape
        inside = ((moved >= 0) & (moved < (height, width))).all(axis=1)
        points, moved = points[inside], moved[inside]
        usable = self.usable[moved[:, 0], moved[:, 1]]
        return points[usable], moved[usable]


def _source(picture: Pixels, hole: Pixels) -> tuple[int, int] | None:
    """How far to look (rows, columns) from the hole for what to fill it with, or None."""
    ring = (grown(hole, RING_PIXELS) > 0) & (hole == 0)
    if not ring.any():
        return None
    smooth = np.asarray(cv2.GaussianBlur(picture, (0, 0), _SMOOTHING), np.uint8)
    around = _Around(smooth, hole == 0, _some(ring), _some(hole > 0))
    left, top, right, bottom = bounds(hole, 2)
    scores = {}
    for direction in range(_DIRECTIONS):
        angle = 2 * np.pi * direction / _DIRECTIONS
        across, down = np.cos(angle), np.sin(angle)
        clear = min((right - left) / max(abs(across), 1e-6), (bottom - top) / max(abs(down), 1e-6))
        for distance in _DISTANCES:
            shift = round(down * clear * distance), round(across * clear * distance)
            scores[shift] = around.score(shift)
    tried = [_refined(around, s) for s in sorted(scores, key=lambda s: scores[s])[:_REFINED]]
    score, best = min(tried)
    return best if np.isfinite(score) else None


def _refined(around: _Around, start: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """The best place near one: patterns must meet to the pixel."""
    best, score = start, around.score(start)
    if not np.isfinite(score):
        return score, best
    for step in (8, 4, 2, 1):
        for _ in range(3):
            near = [
                (best[0] + step * down, best[1] + step * across)
                for down in (-1, 0, 1)
                for across in (-1, 0, 1)
                if down or across
            ]
            found, place = min((around.score(shift), shift) for shift in near)
            if found >= score:
                break
            score, best = found, place
    return score, best


def _some(where: NDArray[np.bool_]) -> Points:
    points = np.argwhere(where)
    return points[:: max(1, len(points) // _POINTS_MAX)]


def _lent(
    picture: Pixels, hole: Pixels, here: tuple[slice, slice], shift: tuple[int, int]
) -> tuple[Floats, NDArray[np.bool_]]:
    """What lies ``shift`` away from a part of the picture, and where nothing usable does."""
    ys = np.arange(here[0].start, here[0].stop) + shift[0]
    xs = np.arange(here[1].start, here[1].stop) + shift[1]
    outside = ((ys < 0) | (ys >= hole.shape[0]))[:, None] | ((xs < 0) | (xs >= hole.shape[1]))
    ys, xs = ys.clip(0, hole.shape[0] - 1), xs.clip(0, hole.shape[1] - 1)
    place = np.ix_(ys, xs)
    return picture[place].astype(np.float32), outside | (hole[place] > 0)


def _carried(part: Floats, known: NDArray[np.bool_], missing: NDArray[np.bool_]) -> Floats:
    """What is known (height x width x 3, any numbers) carried smoothly into what is missing."""
    height, width = missing.shape
    if not known.any():
        return np.zeros_like(part)
    weights = known.astype(np.float32)
    out: Floats | None = None
    for cells, steps in zip(_CELLS, _RELAXED, strict=True):
        scale = min(1.0, cells / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        share = cv2.resize(weights, size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
        sums = cv2.resize(part * weights[..., None], size, interpolation=cv2.INTER_AREA)
        mean = np.asarray(
            sums.reshape(*size[::-1], 3) / np.maximum(share, 1e-6)[..., None], np.float32
        )
        gap = (share < 0.5).astype(np.uint8)
        out = _marched(mean, gap) if out is None else _spread_to(out, mean, gap)
        _relax(out, gap, steps)
        if scale == 1:
            break
    assert out is not None
    whole = cv2.resize(out, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(whole, np.float32).reshape(height, width, 3)


def _marched(mean: Floats, gap: Pixels) -> Floats:
    """Telea's fast marching, channel by channel."""
    if gap.all() or not gap.any():
        return mean
    # OpenCV reads beyond the edge of what is a few pixels wide.
    hole = np.pad(gap, _TELEA_RADIUS, mode="edge")
    wider = [(_TELEA_RADIUS, _TELEA_RADIUS), (_TELEA_RADIUS, _TELEA_RADIUS), (0, 0)]
    values = np.pad(mean, wider, mode="edge")
    channels = [
        cv2.inpaint(np.ascontiguousarray(values[..., c]), hole, _TELEA_RADIUS, cv2.INPAINT_TELEA)
        for c in range(3)
    ]
    inner = slice(_TELEA_RADIUS, -_TELEA_RADIUS)
    return np.dstack(channels).astype(np.float32)[inner, inner]


def _spread_to(coarse: Floats, mean: Floats, gap: Pixels) -> Floats:
    size = gap.shape[1], gap.shape[0]
    guess = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR).reshape(*gap.shape, 3)
    return np.where(gap[..., None] > 0, guess, mean).astype(np.float32)


def _relax(values: Floats, gap: Pixels, steps: int) -> None:
    """Draw each missing value towards the mean of those around it, in place."""
    where = gap > 0
    if not where.any():
        return
    for _ in range(steps):
        mean = cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE).reshape(values.shape)
        values[where] = mean[where]
