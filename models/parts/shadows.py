"""The shadow that a thing casts, which has to go with it."""

from __future__ import annotations

import cv2
import numpy as np

from models.parts.filling import filled
from models.parts.holes import bounds, grown
from models.parts.pictures import Pixels

_SIDE = 384
"""The longer side, in pixels, of the small picture in which a shadow is looked for."""
_REACH = 0.45
"""How far from a thing its shadow is looked for, in the thing's shorter sides."""
_DARKER = 0.93
"""What at least a shadow leaves away of the light is 1 minus this."""
_DARKEST = 0.25
_TINT = 0.14
"""How far the light that is left may differ between red, green and blue."""


def with_shadow(picture: Pixels, mask: Pixels) -> Pixels:
    """A thing's mask (height x width, 255 where) and the soft shadow that touches it.

    ``picture`` is height x width x 3. What the picture would show without the thing is guessed
    from around it; a shadow is where it shows the same with less light.
    """
    if not mask.any() or mask.all():
        return mask
    height, width = mask.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    rough = cv2.resize(mask, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0])
    thing = np.where(rough > 0, 255, 0).astype(np.uint8)
    shadow = _shadow(small.reshape(size[1], size[0], 3), grown(thing, 1))
    whole = cv2.resize(shadow, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(whole.reshape(height, width) > 127, 255, mask).astype(np.uint8)


def _shadow(picture: Pixels, thing: Pixels) -> Pixels:
    left, top, right, bottom = bounds(thing, 0)
    reach = max(3, round(_REACH * min(right - left, bottom - top)))
    around = grown(thing, reach)
    if around.all():
        return np.zeros_like(thing)
    expected = filled(picture, around).astype(np.float32) + 8
    seen = np.where(thing[..., None] > 0, expected, picture.astype(np.float32) + 8)
    # Blurred, the two are alike where only their texture differs.
    sigma = max(1.2, 0.05 * reach)
    light = cv2.GaussianBlur(seen, (0, 0), sigma) / cv2.GaussianBlur(expected, (0, 0), sigma)
    tint = np.ptp(light, axis=2)
    level = light.mean(axis=2)
    dark = (level < _DARKER) & (level > _DARKEST) & (tint < _TINT) & (around > 0)
    out = cv2.morphologyEx(
        (dark & (thing == 0)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    _, labels = cv2.connectedComponents(out)
    touching = np.unique(labels[(grown(thing, 4) > 0) & (out > 0)])
    cast = np.isin(labels, touching[touching > 0])
    # Its rim is too faint to be told from the texture, but not to be seen.
    return grown(np.where(cast, 255, 0).astype(np.uint8), max(2, reach // 6))
