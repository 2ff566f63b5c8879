"""From a rough mask to an opacity: how much of each pixel near the edge is the thing."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.pictures import Pixels

Floats = NDArray[np.float32]

_ALIKE = 20.0
"""Where the two sides differ by less (of 255), the mask's own outline counts for more."""
_WIDEST = 14.0


def opacity(colours: Pixels, mask: NDArray[np.bool_]) -> Floats:
    """Height x width, 0 to 1, for a picture (height x width x 3) and a mask of the same shape
    but of lower resolution, say.

    Within a band around the mask's outline each pixel is taken as a mixture of the colours of
    the thing and of the background near it, and its share is what fits best; the width of the
    band follows the softness of the edge. Elsewhere the mask stands.
    """
    height, width = colours.shape[:2]
    coarse = max(1.0, max(height, width) / max(mask.shape))
    inside = resized(mask, width, height)
    if inside.all() or not inside.any():
        return inside.astype(np.float32)
    # Noise turns into noise of the opacity; this much blur costs no edge.
    clean = cv2.GaussianBlur(colours, (0, 0), 0.6).astype(np.float32)
    signed = signed_distance(inside)
    band = 2.2 * coarse + 2
    share, contrast = shares(clean, signed, band)
    there = (np.abs(signed) < 1) & (contrast > 30)
    widths = fade_widths(clean, contrast, 2 * (int(band) // 2) + 1)[there]
    softness = float(np.median(widths)) if len(widths) >= 50 else 2.0
    wider = min(1.6 * softness + 1, _WIDEST * coarse)
    if wider > 1.15 * band:
        band = wider
        share, contrast = shares(clean, signed, band)
    sure = contrast**2 / (contrast**2 + _ALIKE**2)
    outline = np.clip(0.5 + signed / max(1.5, softness), 0, 1)
    mixed = sure * np.clip(share, -0.2, 1.2) + (1 - sure) * outline
    # What is left of the noise must not cloud what is clear, nor pierce what is solid.
    mixed = np.clip((mixed - 0.06) / 0.88, 0, 1)
    return np.where(signed > band, 1, np.where(signed < -band, 0, mixed)).astype(np.float32)


def resized(mask: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """A mask at the size of a larger picture, its outline smooth."""
    coarse = max(1.0, max(height, width) / max(mask.shape))
    way = cv2.INTER_LINEAR if coarse < 1.01 else cv2.INTER_CUBIC
    soft = cv2.resize(mask.astype(np.float32), (width, height), interpolation=way)
    return np.asarray(cv2.GaussianBlur(soft, (0, 0), 0.6 * coarse) > 0.5)


def signed_distance(inside: NDArray[np.bool_]) -> Floats:
    """Pixels from the outline, more than 0 inside."""
    within = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    beyond = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)


def shares(clean: Floats, signed: Floats, band: float) -> tuple[Floats, Floats]:
    """The thing's share of each pixel (not yet within 0 to 1), and how much both sides differ.

    Pixels count for the colour of their side the more, the farther they are from the edge: so
    a stalk that is narrower than the band still has the colour of its middle.
    """
    front = _near(clean, np.clip(signed / band, 0, 1) ** 4 + np.float32(1e-4) * (signed > 0), band)
    back = _near(clean, np.clip(-signed / band, 0, 1) ** 4 + np.float32(1e-4) * (signed < 0), band)
    apart = front - back
    square = (apart * apart).sum(axis=2)
    share = ((clean - back) * apart).sum(axis=2) / np.maximum(square, 1)
    return share, np.sqrt(square)


def _near(values: Floats, weights: Floats, radius: float) -> Floats:
    """The weighed mean of the colours around each pixel (height x width x 3)."""
    side = 2 * max(2, round(radius)) + 1
    kernel = (side, side)
    weights = weights.astype(np.float32)
    total = cv2.blur(cv2.blur(values * weights[..., None], kernel), kernel)
    share = cv2.blur(cv2.blur(weights, kernel), kernel)
    return np.asarray(total / np.maximum(share, 1e-6)[..., None], np.float32)


def fade_widths(clean: Floats, contrast: Floats, reach: int) -> Floats:
    """Over how many pixels an edge fades whose sides differ by ``contrast`` (height x width),
    from how steep the colours are within ``reach`` pixels; only near an outline of meaning."""
    slope = np.zeros(contrast.shape, np.float32)
    for across, down in ((1, 0), (0, 1)):
        change = cv2.Sobel(clean, cv2.CV_32F, across, down, scale=1 / 8)
        slope += (change * change).sum(axis=2)
    steepest = cv2.dilate(np.sqrt(slope), np.ones((reach, reach), np.uint8))
    return np.asarray(contrast / np.maximum(steepest, 1), np.float32)
