"""Names of colours, by the nearest in CIE L*a*b*."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.plan import COLOURS

Floats = NDArray[np.float32]

UNNAMED = "unnamed"
"""What is as far from all the names as most of them are from each other."""
_FARTHEST = 34.0
"""In Delta E (1976). What ``draw`` varies a colour by stays under 25."""


def lab(rgb: Floats) -> Floats:
    """Colours of 0 to 255, the last axis R, G, B, as L*, a* and b* (D65)."""
    flat = np.ascontiguousarray(rgb.reshape(1, -1, 3), np.float32) / 255
    return np.asarray(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB), np.float32).reshape(rgb.shape)


_NAMES = tuple(COLOURS)
_PLACES = lab(np.array([COLOURS[name] for name in _NAMES], np.float32))


def name(place: Floats) -> str:
    """The name of one colour, given in L*a*b*; ``UNNAMED`` where none is near."""
    away = np.linalg.norm(_PLACES - place, axis=1)
    nearest = int(np.argmin(away))
    return _NAMES[nearest] if away[nearest] <= _FARTHEST else UNNAMED
