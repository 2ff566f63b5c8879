"""What is taken out of a picture, and how its filling is put in without a seam."""

from __future__ import annotations

import cv2
import numpy as np

from models.parts.pictures import Pixels


def blend_margin(width: int, height: int) -> int:
    """Pixels around a mask over which a filling fades into the picture: 1/128 of the longer
    side, from 4 to 16."""
    return min(16, max(4, max(width, height) // 128))


def grown(mask: Pixels, pixels: int) -> Pixels:
    """A mask (height x width, 0 and 255) grown by a disc of that radius."""
    if pixels <= 0:
        return mask
    outside = (mask == 0).astype(np.uint8)
    if not outside.any() or not mask.any():
        return mask
    # Distances cost the same for every radius; a dilation by a large disc does not.
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(distance <= pixels, 255, 0).astype(np.uint8)


def feathered(mask: Pixels, margin: int) -> Pixels:
    """How much of the filling each pixel takes (height x width): 255 in the mask, falling
    evenly to 0 at ``margin`` pixels from it, and 0 beyond."""
    outside = (mask == 0).astype(np.uint8)
    if margin <= 0 or not outside.any() or not mask.any():
        return mask
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.clip(1 - (distance - 0.5) / margin, 0, 1)
    share[(distance > margin) & (outside == 1)] = 0
    share[outside == 0] = 1
    return np.asarray(np.rint(255 * share), np.uint8)


def pasted(picture: Pixels, filling: Pixels, mask: Pixels, margin: int) -> Pixels:
    """The picture (height x width x channels) with the filling in the mask.

    The seam fades over ``margin`` pixels around the mask; a pixel outside
    ``grown(mask, margin)`` is the picture's own, bit for bit.
    """
    share = feathered(mask, margin)[..., None].astype(np.uint16)
    mixed = (filling * share + picture * (255 - share) + 127) // 255
    return mixed.astype(np.uint8)


def bounds(mask: Pixels, margin: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is set in a mask that is not empty, with ``margin``
    pixels around it, within the picture."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = max(0, int(xs[0]) - margin), max(0, int(ys[0]) - margin)
    right = min(mask.shape[1], int(xs[-1]) + 1 + margin)
    return left, top, right, min(mask.shape[0], int(ys[-1]) + 1 + margin)
