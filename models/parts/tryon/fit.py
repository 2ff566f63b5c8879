"""Where a garment lies on somebody, pixel by pixel: its region, and what becomes bare."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.tryon.body import Body
from models.parts.tryon.garment import Garment
from models.parts.tryon.request import DRESS, LOWER, UPPER
from models.parts.tryon.rows import Mask, Rails, disc, rails

_EASE = 1.06
"""Sleeves reach a little farther on arms that hang than on a table."""
_WRIST = 1.7
"""Heads from the shoulder to the wrist, at most: hands stay bare."""
_NECK = 1.3
"""A neck is nowhere this many times as wide as at its narrowest."""
_SHORT, _SHORTEST = 0.82, 0.3
"""A garment that reaches less far down the legs than this ends above the feet, but not above
that."""
_WIDER = 1.1
_SPECK = 0.1
"""What is narrower, in heads, is no part of a limb and no gap between two."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What is painted, in the person's small picture (masks height x width).

    ``cloth`` takes the garment, ``bare`` the colour of skin: clothes that the garment does
    not cover any more; ``loose`` is cloth that hangs free of the body. Row r shows the
    garment's row ``places[r]``: between ``rails`` what is between the garment's.
    """

    cloth: Mask
    bare: Mask
    rails: Rails
    places: NDArray[np.float64]
    loose: Mask


def fitted(body: Body, garment: Garment, category: str) -> Fit:
    """Lay a garment onto a body."""
    if category == LOWER:
        return _trousers(body, garment)
    return _top(body, garment, category)


def _top(body: Body, garment: Garment, category: str) -> Fit:
    """A garment that hangs from the shoulders: down to the waist, or over the legs."""
    shape = body.silhouette.shape
    hem, loose = body.waist, np.zeros_like(body.silhouette)
    throat = _throat(body)
    covered = body.torso & ~throat
    if category == DRESS:
        hem = _hem(body, garment)
        covered |= _below(_legs(body), body.waist, hem)
    lines = _filled(rails(covered, body.centre, True).joined(), covered)
    lines = lines.smoothed(0.12 * body.head)
    places = np.clip(_stretch(shape[0], body, garment, category, hem), 0, garment.rows - 1)
    if category == DRESS:
        loose = _flared(shape[1], body.slimmest, garment, lines, places, hem)
        covered |= loose
        lines = _filled(rails(covered, body.centre, False), covered).smoothed(0.08 * body.head)
        loose &= np.arange(shape[0])[:, None] >= body.waist
    height = max(1, body.waist - body.neck)
    arms = body.arms & _near_shoulders(body, lines, garment.sleeves * _EASE * height)
    speck = disc(_SPECK * body.head)
    cloth = _closed(covered | arms, speck) & ~throat
    old = body.top & body.arms
    if category == DRESS:
        old |= body.bottom
    bare = _parts(old & ~cloth, speck)
    # What is left of the old clothes along the edge is too narrow to be a limb.
    cloth |= old & ~bare & ~throat & (cv2.dilate(cloth.astype(np.uint8), speck) > 0)
    return Fit(cloth & ~body.hair, bare & ~body.hair, lines, places, loose)


def _trousers(body: Body, garment: Garment) -> Fit:
    """A garment that hangs from the waist: two legs of their own length, or a skirt."""
    legs = _legs(body)
    both = rails(legs, body.centre, True)
    upper = both.width[body.waist : body.waist + max(1, (body.feet - body.waist) // 4)]
    slim = (body.feet - body.waist) / max(1.0, float(np.max(upper, initial=1.0)))
    share = garment.slim / slim
    hem = body.feet
    if share < _SHORT:
        hem = body.waist + int(max(share, _SHORTEST) * (body.feet - body.waist))
    covered = _below(legs, body.waist, hem)
    lines = _filled(rails(covered, body.centre, True), covered).smoothed(0.05 * body.head)
    rows = np.arange(len(legs), dtype=np.float64)
    gaps = np.flatnonzero(_two_runs(covered, body.centre)[body.waist : hem])
    crotch = body.waist + (int(gaps[0]) if len(gaps) else 0)
    known = ([body.waist, hem], [0, garment.rows - 1])
    if garment.legs and body.waist + 2 < crotch < hem - 2:
        known = ([body.waist, crotch, hem], [0, garment.crotch(), garment.rows - 1])
    places = np.interp(rows, *known)
    loose = np.zeros_like(covered)
    if not garment.legs:
        lines = lines.joined()
        loose = _flared(legs.shape[1], body.waist, garment, lines, places, hem)
        covered |= loose
        lines = _filled(rails(covered, body.centre, False), covered).smoothed(0.05 * body.head)
    speck = disc(_SPECK * body.head)
    cloth = covered if garment.legs else _closed(covered, speck)
    return Fit(cloth, _parts(body.bottom & ~cloth, speck), lines, places, loose)


def _stretch(
    rows: int, body: Body, garment: Garment, category: str, hem: int
) -> NDArray[np.float64]:
    """The garment's row for each row of the picture."""
    down = np.arange(rows, dtype=np.float64)
    if category == UPPER:
        return np.interp(down, [body.neck, hem], [0, garment.rows - 1])
    where, shown = [body.neck, body.slimmest, hem], [0, garment.waist, garment.rows - 1]
    return np.interp(down, where, shown)


def _hem(body: Body, garment: Garment) -> int:
    """Where a dress ends, by its own proportions."""
    ratio = garment.rows / max(1, garment.waist)
    usual = body.neck + ratio * (body.slimmest - body.neck)
    return int(np.clip(usual, body.waist + 0.5 * body.head, max(body.feet, body.waist + 1)))


def _flared(
    width: int,
    start: int,
    garment: Garment,
    lines: Rails,
    places: NDArray[np.float64],
    hem: int,
) -> Mask:
    """What hangs between the legs and beside them from a row on, as wide against the waist as
    the garment is against its own, but not much wider than it is long against its length."""
    start = max(0, min(start, len(places) - 1))
    own = np.interp(places, np.arange(garment.rows), garment.outline.width)
    along = (hem - start) / max(1.0, garment.rows - 1 - float(places[start]))
    scale = min(float(lines.width[start]) / max(1.0, float(own[start])), _WIDER * along)
    half = np.maximum(lines.width, scale * own) / 2
    columns = np.arange(width)
    inside = np.abs(columns[None] - lines.middle[:, None]) <= half[:, None]
    inside[:start] = False
    inside[hem:] = False
    return np.asarray(inside)


def _near_shoulders(body: Body, lines: Rails, reach: float) -> Mask:
    """The arms as far as sleeves reach, in pixels from the shoulders."""
    if reach <= 0:
        return np.zeros_like(body.arms)
    ys, xs = np.mgrid[0 : body.arms.shape[0], 0 : body.arms.shape[1]]
    row = min(len(lines.columns) - 1, body.neck + int(0.3 * body.head))
    usual = int(min(body.neck + 0.9 * body.head, len(lines.columns) - 1))
    edges = lines.left[usual], lines.right[usual]
    away = np.minimum(np.hypot(ys - row, xs - edges[0]), np.hypot(ys - row, xs - edges[1]))
    return np.asarray(body.arms & (away <= min(reach, _WRIST * body.head)))


def _throat(body: Body) -> Mask:
    """Head and neck, down to the collar that is worn."""
    out = np.zeros_like(body.silhouette)
    near = np.abs(np.arange(out.shape[1]) - body.centre) < 0.8 * body.head
    widths = body.silhouette[body.neck : body.neck + int(body.head), near].sum(axis=1)
    # As narrow as it is, it is the neck itself; its shadowed edges are no more like skin.
    slim = int(widths[: max(1, len(widths) // 2)].argmin()) if len(widths) else 0
    wide = widths[slim:] > _NECK * max(1, int(widths[slim : slim + 1].sum()))
    shoulders = body.neck + slim + int(np.argmax(wide) if wide.any() else 0)
    out[:shoulders] = True
    low = body.neck + int(0.75 * body.head)
    near = np.abs(np.arange(out.shape[1]) - body.centre) < 0.45 * body.head
    out[body.neck : low] |= body.skin[body.neck : low] & near[None]
    return out


def _legs(body: Body) -> Mask:
    return (body.bottom | body.skin) & ~body.arms & _below(body.silhouette, body.waist, body.feet)


def _below(mask: Mask, first: int, last: int) -> Mask:
    out = np.zeros_like(mask)
    out[first:last] = mask[first:last]
    return out


def _filled(lines: Rails, covered: Mask) -> Rails:
    """With the first row's columns above it."""
    rows = np.flatnonzero(covered.any(axis=1))
    if len(rows):
        lines.columns[: rows[0]] = lines.columns[rows[0]]
    return lines


def _two_runs(mask: Mask, centre: float) -> NDArray[np.bool_]:
    """The rows that are set on both sides of a gap near the middle."""
    lines = rails(mask, centre, True)
    gap = lines.columns[:, 2] - lines.columns[:, 1]
    return np.asarray((gap >= 1) & (gap < lines.width))


def _parts(mask: Mask, speck: NDArray[np.uint8]) -> Mask:
    """Without lines and specks."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, speck) > 0


def _closed(mask: Mask, speck: NDArray[np.uint8]) -> Mask:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, speck) > 0
