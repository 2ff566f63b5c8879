"""A garment cut out of its picture, and the lines along which it is laid onto somebody."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from models.parts.hidden import bled
from models.parts.matting import Matter, OnStage, cut_out
from models.parts.pictures import Pixels
from models.parts.tryon.request import LOWER, UPPER
from models.parts.tryon.rows import Mask, Rails, central_run, disc, largest, rails

SIDE = 400
"""The cutting is done at this size."""
TEXTURE_SIDE = 1400
"""And the cloth is taken from the picture at this one, at most."""
_LEGS = 0.3
"""Trousers have a gap in at least this share of their rows; below it, it is a fold."""
_SLEEVED = 1.25
"""What is this many times as wide as its torso has sleeves."""
_CAP = 0.25
"""And those are longer than this, in heights of its upper part."""
_PLAIN = 6.0
"""A background is plain where most of its colours differ less, in CIELAB as bytes."""
_CORNER = 12
_EDGE = 0.015
"""Of the picture's side: twice how far into the garment its background shines through."""


@dataclass(frozen=True, slots=True)
class Garment:
    """A garment's cloth, height x width x 3, continued beyond its outline by its own colours.

    ``body`` are the rails of its rows without sleeves, from its first row (``first``) on;
    ``outline`` the same of all of it. ``sleeves`` is how far they reach from the shoulder, in
    heights of the part above the waist, 0 without any.
    """

    cloth: Pixels
    first: int
    body: Rails
    outline: Rails
    sleeves: float
    legs: bool
    waist: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.body.columns)

    @property
    def slim(self) -> float:
        """Its height in widths of its waist and hips."""
        upper = self.body.width[: max(1, self.rows // 4)]
        return self.rows / max(1.0, float(np.max(upper)))

    def crotch(self) -> int:
        """The first row from which on it is two legs; the last where it has none."""
        gaps = np.flatnonzero(self.body.split())
        return int(gaps[0]) if self.legs and len(gaps) else self.rows - 1


def read_garment(picture: Image.Image, category: str, matter: Matter, on_stage: OnStage) -> Garment:
    """Cut a garment out of its picture (RGB or RGBA) and measure it.

    Where nothing stands out, all of the picture is cloth.
    """
    large = _bounded(picture, TEXTURE_SIDE)
    small = cut_out(_bounded(picture, SIDE), matter, on_stage)
    mask = largest(_without_wall(small, _bounded(picture, SIDE)))
    size = (large.width, large.height)
    shape = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_LINEAR) > 0
    inner = cv2.erode(shape.astype(np.uint8), disc(_EDGE * max(size))) > 0
    known = np.where(inner if inner.any() else shape, 255, 0).astype(np.uint8)
    cloth = bled(np.asarray(large.convert("RGB")), known)
    ys, xs = np.nonzero(shape)
    first, last = int(ys[0]), int(ys[-1])
    part = shape[first : last + 1]
    centre = float(xs.min() + xs.max()) / 2
    legs = category == LOWER and _has_legs(part, centre)
    outline = rails(part, centre, legs)
    if category == LOWER:
        return Garment(cloth, first, outline, outline, 0.0, legs, 0)
    waist = len(part) if category == UPPER else _waist(part, centre)
    lowest = 0.85 if category == UPPER else 0.6
    body = rails(_without_sleeves(part, centre, waist, lowest), centre, False)
    sleeves = _sleeves(part, body, waist)
    return Garment(cloth, first, body, outline, sleeves, False, waist)


def _waist(part: Mask, centre: float) -> int:
    """The row in which a dress is slimmest."""
    widths = central_run(part, centre).sum(axis=1)
    first, last = int(0.25 * len(part)), max(int(0.25 * len(part)) + 1, int(0.55 * len(part)))
    return first + int(widths[first:last].argmin())


def _without_sleeves(part: Mask, centre: float, waist: int, lowest: float) -> Mask:
    """The garment as wide as it is below the arms, wherever it is wider above; armpits are no
    lower than a share of the way to the waist."""
    run = central_run(part, centre)
    widths = run[:waist].sum(axis=1)
    first, last = int(0.3 * waist), max(int(0.3 * waist) + 1, int(lowest * waist))
    row = first + int(widths[first:last].argmin())
    columns = np.flatnonzero(run[row])
    out = run.copy()
    out[:row, : columns[0]] = False
    out[:row, columns[-1] + 1 :] = False
    return out


def _sleeves(part: Mask, body: Rails, waist: int) -> float:
    columns = np.arange(part.shape[1])
    above = slice(0, waist)
    beside = (columns[None] < body.left[above, None]) | (columns[None] > body.right[above, None])
    ys, xs = np.nonzero(part[above] & beside)
    span = float(np.ptp(np.nonzero(part[above])[1])) if len(ys) else 0.0
    if span < _SLEEVED * float(np.median(body.width[above])):
        return 0.0
    shoulder = 0.08 * waist
    edge = np.where(xs < body.middle[ys], body.left[ys], body.right[ys])
    reach = float(np.percentile(np.hypot(ys - shoulder, xs - edge), 98)) / max(1, waist)
    return reach if reach > _CAP else 0.0


def _without_wall(cut: Pixels, picture: Image.Image) -> Mask:
    """What was cut out, without the corners of a plain background between sleeves and sides
    that were taken along."""
    mask = cut[..., 3] > 127
    lab = cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2LAB).astype(np.float32)
    edge = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    wall = np.median(edge, axis=0)
    plain = float(np.median(np.linalg.norm(edge - wall, axis=1))) < _PLAIN
    away = np.linalg.norm(lab - wall, axis=2)
    if not plain or not mask.any() or float(np.median(away[mask])) < 4 * _PLAIN:
        return mask
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(mask & ~((away < 2 * _PLAIN) & (depth < _CORNER)))


def _has_legs(part: Mask, centre: float) -> bool:
    return float(rails(part, centre, True).split().mean()) > _LEGS


def _bounded(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC)
