"""Colours for pixels that cannot be seen, for networks that look at them all the same."""

from __future__ import annotations

import cv2
import numpy as np

from models.parts.pictures import Pixels


def bled(colours: Pixels, alpha: Pixels | None) -> Pixels:
    """The colours, height x width x 3; where they cannot be seen, those of the nearest pixel
    that can. What stands there in the file is often black, and would darken every edge."""
    if alpha is None:
        return colours
    clear = (alpha == 0).astype(np.uint8)
    if not clear.any() or clear.all():
        return colours
    _, nearest = cv2.distanceTransformWithLabels(
        clear, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # The labels number the pixels that show, each its own.
    palette = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    shown = clear == 0
    palette[nearest[shown]] = colours[shown]
    return np.asarray(palette[nearest])
