"""A garment painted onto somebody: its cloth, in the light and the folds of what was worn."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.pictures import Pixels
from models.parts.tryon.body import Body
from models.parts.tryon.fit import Fit
from models.parts.tryon.garment import Garment
from models.parts.tryon.rows import Mask

Floats = NDArray[np.float32]

_DARKEST, _BRIGHTEST = 0.5, 1.45
"""Of the light that lies on a garment, against what is usual on it."""
_PATTERN = (0.12, 0.3)
"""Where the light changes more than this, it is a print of the old garment's, not a fold."""
_ROUND = 0.16
"""How much darker cloth is where a body turns away."""
_PLEAT = 0.13
"""How much brighter and darker the folds of a skirt are."""
_CREASE = 0.3
"""How dark the shadow is that a hem throws onto what is beside it."""


def dressed(person: Pixels, alpha: Pixels, body: Body, fit: Fit, garment: Garment) -> Pixels:
    """The person's picture (height x width x 3; ``alpha`` is the silhouette in it) with the
    garment on, as large as it is. Body and fit are of a smaller copy."""
    light = _light(person, body, fit)
    share = _coverage(fit.cloth, body.silhouette, alpha)
    skin = _coverage(fit.bare, body.silhouette, alpha)
    where = (share > 0) | (skin > 0)
    shadow = _hem_shadow(fit, body, share)
    ys, xs = np.nonzero(where | (shadow > 0.004))
    if not len(ys):
        return person
    here = slice(int(ys.min()), int(ys.max()) + 1), slice(int(xs.min()), int(xs.max()) + 1)
    out = person.copy()
    made = person[here].astype(np.float32)
    if skin[here].any() and body.complexion is not None:
        tone = np.asarray(body.complexion, np.float32) * light[here][..., None]
        made += (tone - made) * skin[here][..., None]
    made *= 1 - shadow[here][..., None]
    cloth = _warped(garment, fit, person.shape[:2], here) * light[here][..., None]
    made += (cloth - made) * share[here][..., None]
    touched = (share[here] > 0) | (skin[here] > 0) | (shadow[here] > 0.004)
    out[here][touched] = np.rint(np.clip(made, 0, 255)).astype(np.uint8)[touched]
    return out


def _warped(
    garment: Garment, fit: Fit, shape: tuple[int, ...], here: tuple[slice, slice]
) -> Floats:
    """The cloth as it lies on the picture's part: each row between its rails."""
    high, wide = len(fit.places), fit.cloth.shape[1]
    rows = (np.arange(here[0].start, here[0].stop) + 0.5) * high / shape[0] - 0.5
    columns = (np.arange(here[1].start, here[1].stop) + 0.5) * wide / shape[1] - 0.5
    places = np.interp(rows, np.arange(high), fit.places)
    ours, theirs = fit.rails.at(rows), garment.body.at(places)
    across = np.empty((len(rows), len(columns)), np.float32)
    for index in range(len(rows)):
        across[index] = _between(columns, ours[index], theirs[index])
    down = np.repeat((places + garment.first).astype(np.float32)[:, None], len(columns), axis=1)
    cloth = _fine_enough(garment.cloth, across)
    factor = cloth.shape[1] / garment.cloth.shape[1]
    made = cv2.remap(
        cloth,
        (across + 0.5) * factor - 0.5,
        (down + 0.5) * factor - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(made, np.float32)


def _between(
    columns: NDArray[np.float64], ours: NDArray[np.float64], theirs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Columns of the picture to columns of the garment, by four of each; beyond the outer
    ones by the scale between them."""
    scale = (theirs[3] - theirs[0]) / max(1.0, ours[3] - ours[0])
    steady = np.maximum.accumulate(ours + np.arange(4) * 1e-3)
    made = np.interp(columns, steady, theirs)
    made = np.where(columns < ours[0], theirs[0] + (columns - ours[0]) * scale, made)
    return np.where(columns > ours[3], theirs[3] + (columns - ours[3]) * scale, made)


def _fine_enough(cloth: Pixels, across: Floats) -> Pixels:
    """The cloth, smaller where it is much finer than what is painted: else it flickers."""
    step = float(np.median(np.abs(np.diff(across, axis=1)))) if across.shape[1] > 1 else 1.0
    if step < 1.5:
        return cloth
    size = (max(1, round(cloth.shape[1] / step)), max(1, round(cloth.shape[0] / step)))
    return np.asarray(cv2.resize(cloth, size, interpolation=cv2.INTER_AREA), np.uint8)


def _light(person: Pixels, body: Body, fit: Fit) -> Floats:
    """How bright cloth is at each pixel of the picture, about 1: the folds of what is worn
    there, and the body's roundness."""
    size = (body.silhouette.shape[1], body.silhouette.shape[0])
    small = cv2.resize(person, size, interpolation=cv2.INTER_AREA)
    level = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32) / 255
    level = np.maximum(level, 0.04) ** 2.2  # from how bright it looks to how much light it is
    ratio = np.ones(level.shape, np.float32)
    known = np.zeros(level.shape, np.float32)
    for material in (body.top, body.bottom, body.skin):
        inner = cv2.erode(material.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        if inner.sum() < 20:
            continue
        found = level[inner] / np.median(level[inner])
        spread = float(np.std(np.clip(found, 0, 3)))
        trust = np.interp(spread, _PATTERN, (1.0, 0.25))
        ratio[inner] = np.clip(found, 0.2, 3) ** trust
        known[inner] = 1
    fine, coarse = _spread(ratio, known, 1.0), _spread(ratio, known, 0.25 * body.head)
    near = np.clip(2 * cv2.GaussianBlur(known, (0, 0), 2.0) - 0.8, 0, 1)
    lit = (coarse + (fine - coarse) * near) ** 0.55
    free = cv2.GaussianBlur(fit.loose.astype(np.float32), (0, 0), 0.05 * body.head)
    lit += (_spread(ratio, known, 0.6 * body.head) ** 0.55 * _pleats(fit) - lit) * free
    lit = np.clip(lit, _DARKEST, _BRIGHTEST) * _roundness(fit.cloth | fit.bare, body.head)
    whole = (person.shape[1], person.shape[0])
    return np.asarray(cv2.resize(lit, whole, interpolation=cv2.INTER_CUBIC), np.float32)


def _spread(values: Floats, known: Floats, sigma: float) -> Floats:
    """Blurred by what is known alone; 1 where nothing is near."""
    weight = cv2.GaussianBlur(known, (0, 0), sigma)
    mean = cv2.GaussianBlur(values * known, (0, 0), sigma)
    return np.asarray((mean + 1e-3) / (weight + 1e-3), np.float32)


def _pleats(fit: Fit) -> Floats:
    """Folds of cloth that hangs free: they run down it, deeper the farther down they are."""
    rows, columns = fit.cloth.shape
    lines = fit.rails
    across = (np.arange(columns)[None] - lines.left[:, None]) / np.maximum(lines.width, 1)[:, None]
    hanging = np.flatnonzero(fit.loose.any(axis=1))
    first, last = (hanging[0], hanging[-1]) if len(hanging) else (0, rows)
    depth = np.clip((np.arange(rows) - first) / max(1, last - first), 0, 1)[:, None]
    waves = 0.6 * np.sin(2 * np.pi * (3.2 * across + 0.15)) + 0.4 * np.sin(2 * np.pi * 7.1 * across)
    return np.asarray(1 + _PLEAT * depth * waves, np.float32)


def _roundness(mask: Mask, head: float) -> Floats:
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    share = np.clip(depth / (0.28 * head), 0, 1)
    return np.asarray(1 - _ROUND * (1 - share) ** 2, np.float32)


def _coverage(mask: Mask, silhouette: Mask, alpha: Pixels) -> Floats:
    """How much of each pixel of the picture a mask covers, 0 to 1. Where its edge is the
    silhouette's, it is as soft as that one is."""
    if not mask.any():
        return np.zeros(alpha.shape, np.float32)
    outside = mask & ~silhouette
    reach = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    body = (mask & silhouette) | (reach & ~silhouette)
    edge = np.clip(alpha.astype(np.float32) / 255 * 1.5, 0, 1)
    made = np.minimum(_enlarged(body, alpha.shape), edge)
    if outside.any():
        made = np.maximum(made, _enlarged(outside | (mask & (reach & silhouette)), alpha.shape))
    made[made < 0.02] = 0
    return np.asarray(made, np.float32)


def _enlarged(mask: Mask, shape: tuple[int, ...]) -> Floats:
    """A mask at the picture's size, with an edge of a pixel or two."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.9)
    large = cv2.resize(soft, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    steep = max(1.2, shape[0] / mask.shape[0])
    return np.asarray(np.clip((large - 0.5) * steep + 0.5, 0, 1), np.float32)


def _hem_shadow(fit: Fit, body: Body, share: Floats) -> Floats:
    """A soft shadow under the garment's edges, on the person alone."""
    sigma = max(0.8, 0.03 * body.head)
    cloth = fit.cloth.astype(np.float32)
    lower = np.roll(cloth, max(1, round(0.02 * body.head)), axis=0)
    dark = cv2.GaussianBlur(np.maximum(cloth, lower), (0, 0), sigma)
    inner = cv2.erode(body.silhouette.astype(np.uint8), np.ones((3, 3), np.uint8))
    dark = np.asarray(dark * inner, np.float32)
    large = cv2.resize(dark, (share.shape[1], share.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(_CREASE * np.clip(large - 0.02, 0, 1) * (1 - share), np.float32)
