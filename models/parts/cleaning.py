"""Taking noise and compression out of a small part of a picture, and making it crisper."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.pictures import Pixels

Floats = NDArray[np.float32]

_SIDE_MAX = 1024
"""What is longer is worked on smaller and comes back no sharper than that."""
_SEARCH, _SEARCH_LARGE, _LARGE = 15, 7, 512
_PATCH = 5
_LIGHT, _TINT = 1.1, 1.4
"""How strongly to clean light and colour, in standard deviations of the noise."""
_KEPT = 0.2
"""A face without any grain looks like wax."""
_SHARPEN_RADIUS = 1.2
_FINE = 2.0
"""Levels of 255 below which a difference is not made stronger: it may be noise."""


def noise_of(colours: Pixels) -> float:
    """How strongly a picture (height x width x 3) is unsettled where it should be plain, as a
    standard deviation in levels of 255: by noise, or by the blocks of a JPEG."""
    grey = _grey(colours.astype(np.float32))
    rough = grey - _blurred(grey, 2)
    spread = np.sqrt(np.maximum(0, cv2.blur(rough * rough, (9, 9))))
    # Cheeks and walls are the calmest fifth of any portrait.
    return float(np.percentile(spread, 20))


def cleaned(colours: Pixels) -> Pixels:
    """The picture (height x width x 3) without most of its noise, and sharper if it is soft.

    Non-local means (Buades, Coll and Morel, 2005), as strong as the noise is, then unsharp
    masking, as strong as the picture is soft.
    """
    height, width = colours.shape[:2]
    scale = min(1.0, _SIDE_MAX / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
        made = cleaned(np.asarray(small, np.uint8).reshape(size[1], size[0], 3))
        whole = cv2.resize(made, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(whole, np.uint8).reshape(height, width, 3)
    noise = noise_of(colours)
    calm = colours.astype(np.float32)
    if noise > 0.5:
        # The function wants BGR to tell light from colour; it returns what it was given.
        bgr = np.ascontiguousarray(colours[..., ::-1])
        search = _SEARCH if max(height, width) <= _LARGE else _SEARCH_LARGE
        clean = cv2.fastNlMeansDenoisingColored(
            bgr, None, _LIGHT * noise, _TINT * noise, _PATCH, search
        )
        calm = _KEPT * calm + (1 - _KEPT) * np.asarray(clean, np.float32)[..., ::-1]
    return _sharpened(np.asarray(calm, np.float32))


def _sharpened(calm: Floats) -> Pixels:
    detail = calm - _blurred(calm, _SHARPEN_RADIUS)
    strong = np.sign(detail) * np.maximum(0, np.abs(detail) - _FINE)
    made = calm + _softness(calm) * strong
    return np.asarray(np.rint(np.clip(made, 0, 255)), np.uint8)


def _softness(colours: Floats) -> float:
    """From 0.1 for what is sharp to 1.1: how little of its finest detail a picture has,
    against the next coarser."""
    grey = _grey(colours)
    fine, coarse = _blurred(grey, 0.8), _blurred(grey, 1.6)
    finest = float(np.percentile(np.abs(grey - fine), 97))
    next_to_it = float(np.percentile(np.abs(fine - coarse), 97))
    return float(np.clip(0.1 + 2.2 * (1.02 - finest / max(next_to_it, 1e-3)), 0.1, 1.1))


def _grey(colours: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), np.float32)


def _blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
