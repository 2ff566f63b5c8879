"""Telling what stands behind a thing by its being out of focus.

Whatever touches the thing in the picture and is as colourful joins its mask. A photographer
has the thing in focus, though: where most of an outline is sharp, parts that end in a blur
are behind it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.edges import fade_widths, resized, shares, signed_distance
from models.parts.pictures import Pixels

Mask = NDArray[np.bool_]

_SIDE = 1024
_REACH = 9
_BAND = 14.0
_CONTRAST, _CONTRAST_BLURRED = 25.0, 45.0
"""How much both sides of an outline must differ, of 441, for its width to be measured, and
for it to count as blurred: shadows differ less."""
_SHARP_MAX = 4.5
"""Pixels over which the sharper part of an outline may fade; if it is more, the thing itself
is soft, and nothing can be told."""
_RUN_MIN = 60
_SHARE_MAX = 0.4
"""More of the mask than this is not thrown away on such grounds."""

_THING, _BEHIND, _OUTSIDE = 1, 2, 3


def without_blurred(colours: Pixels, mask: Mask) -> Mask:
    """A mask (of any size) of a picture (height x width x 3), without the parts that are out
    of focus.

    From the sharp and from the blurred parts of its outline two regions grow inwards, along
    what is even, until they meet at an edge (a watershed: Meyer, 1992); what the blurred ones
    reach goes, if it is a bulge and not a strip along the thing.
    """
    height, width = colours.shape[:2]
    factor = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_AREA), np.uint8)
    inside = resized(mask, *size)
    if inside.all() or not inside.any():
        return mask
    found = _outlines(small, inside)
    if found is None:
        return mask
    sharp, blurred = found
    marks = np.zeros(inside.shape, np.int32)
    marks[cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0] = _OUTSIDE
    marks[sharp], marks[blurred] = _THING, _BEHIND
    calm = np.asarray(cv2.GaussianBlur(small, (0, 0), 0.8), np.uint8)
    grown = np.asarray(cv2.watershed(calm, marks), np.int32)
    behind = _bulges(grown, inside, blurred)
    if behind.sum() > _SHARE_MAX * inside.sum():
        return mask
    there = cv2.resize(behind.astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(mask & (there <= 0.5))


def _outlines(small: Pixels, inside: Mask) -> tuple[Mask, Mask] | None:
    """Where the outline is sharp and where it is blurred; None where that cannot be told."""
    clean = cv2.GaussianBlur(small, (0, 0), 0.6).astype(np.float32)
    signed = signed_distance(inside)
    _, contrast = shares(clean, signed, _BAND)
    outline = (np.abs(signed) < 1) & (contrast > _CONTRAST)
    if outline.sum() < 50:
        return None
    widths = fade_widths(clean, contrast, _REACH)
    usual = float(np.quantile(widths[outline], 0.3))
    if usual > _SHARP_MAX:
        return None
    sharp = outline & (widths < 1.3 * usual + 0.5)
    blurred = outline & (widths > 1.6 * usual + 1.2) & (contrast > _CONTRAST_BLURRED)
    joined = cv2.dilate(blurred.astype(np.uint8), np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    long = stats[:, cv2.CC_STAT_AREA] >= _RUN_MIN
    long[0] = False
    blurred &= long[labels]
    if not blurred.any() or blurred.sum() > 0.6 * outline.sum():
        return None
    return sharp, blurred


def _bulges(grown: NDArray[np.int32], inside: Mask, blurred: Mask) -> Mask:
    """The parts that grew from blurred outlines, except what a short outline holds much of,
    and what lies along the thing rather than behind it: a white sole, say."""
    count, labels = cv2.connectedComponents(((grown == _BEHIND) & inside).astype(np.uint8))
    square = np.ones((5, 5), np.uint8)

    def beside(mask: Mask) -> NDArray[np.int64]:
        near = cv2.dilate(mask.astype(np.uint8), square) > 0
        return np.bincount(labels[near], minlength=count)

    areas = np.bincount(labels.ravel(), minlength=count)
    # Its neighbourhood is some three and a half pixels wide where it lies in the part.
    lengths = beside(blurred) / 3.5
    bulge = (areas <= lengths**2 / 4 + 50) & (
        beside(grown == _THING) <= 15 * beside(grown == _OUTSIDE)
    )
    bulge[0] = False
    return np.asarray(bulge[labels])
