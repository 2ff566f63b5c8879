"""Upright faces seen from the front, found without a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

from models.parts.matting import OnStage
from models.parts.pictures import Pixels

Boxes = NDArray[np.int64]
"""Count x 3: left, top and side."""

_SIDE = 400
"""The longer side, in pixels, of the small picture in which faces are looked for."""
_WINDOW_MIN = 24
"""The cascade was trained on windows of 24 pixels: a smaller face is not one for it."""
_GROWTH = 1.1
_VOTES_MIN = 8
"""How many windows must agree, in the picture and in its mirror image each."""
_ALIKE = 0.22
_SIDES_MAX = 2000
"""Windows taken into account at most; a picture of a face gives some tens."""


@dataclass(frozen=True, slots=True)
class Box:
    """A face in pixels of the picture: left upper corner and side of a square from the brows
    to the chin."""

    left: float
    top: float
    side: float


class FaceBoxes:
    """Local binary patterns in a cascade (Liao et al., "Learning Multi-scale Block Local
    Binary Patterns for Face Recognition", 2007), with the classifier that scikit-image carries.

    A face is nearly the same in a mirror, which what is merely taken for one seldom is: it
    counts when it is found in both. Two stages.
    """

    stages = 2

    def __init__(self) -> None:
        file: Any = lbp_frontal_face_cascade_filename  # untyped
        self._cascade: Any = Cascade(file())

    def find(self, picture: Pixels, on_stage: OnStage) -> list[Box]:
        """The faces of a picture (height x width x 3), the largest first. One that is less
        than 24 pixels wide, or than a sixteenth of the picture's longer side, is not found."""
        height, width = picture.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if min(size) < _WINDOW_MIN:
            on_stage()
            on_stage()
            return []
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        # Noise and the blocks of a JPEG have patterns of their own.
        grey = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (0, 0), 0.8)
        seen = self._windows(np.asarray(grey, np.uint8))
        on_stage()
        mirrored = self._windows(np.ascontiguousarray(grey[:, ::-1], np.uint8))
        mirrored[:, 0] = size[0] - mirrored[:, 0] - mirrored[:, 2]
        on_stage()
        boxes = [
            Box(float(left) / scale, float(top) / scale, float(side) / scale)
            for left, top, side in _agreed(seen, mirrored)
        ]
        return sorted(boxes, key=lambda box: (-box.side, box.top, box.left))

    def _windows(self, grey: Pixels) -> Boxes:
        """Every window that the cascade takes for a face, in a settled order."""
        limit = min(grey.shape)
        found = self._cascade.detect_multi_scale(
            grey,
            scale_factor=_GROWTH,
            step_ratio=1,
            min_size=(_WINDOW_MIN, _WINDOW_MIN),
            max_size=(limit, limit),
            min_neighbor_number=1,
            # Its own merging depends on the order in which its threads finish: this is never
            # reached, so that nothing is merged.
            intersection_score_threshold=2.0,
        )
        windows = sorted((w["c"], w["r"], w["width"]) for w in found)
        return np.array(windows[:_SIDES_MAX], np.int64).reshape(-1, 3)


def _agreed(seen: Boxes, mirrored: Boxes) -> list[NDArray[np.float64]]:
    """The middle of each group of windows that is large enough on both sides."""
    windows = np.concatenate([seen, mirrored]).astype(np.float64)
    if not len(windows):
        return []
    sides = windows[:, 2]
    reach = _ALIKE * np.minimum(sides[:, None], sides[None])
    first, second = windows[:, None], windows[None]
    alike = (np.abs(first[..., :2] - second[..., :2]) <= reach[..., None]).all(axis=2)
    alike &= np.abs(sides[:, None] - sides[None]) <= reach
    count, groups = connected_components(coo_array(alike), directed=False)
    of_mirror = np.arange(len(windows)) >= len(seen)
    agreed = []
    for group in range(count):
        own = groups == group
        if min((own & of_mirror).sum(), (own & ~of_mirror).sum()) >= _VOTES_MIN:
            agreed.append(np.median(windows[own], axis=0))
    return _apart(agreed)


def _apart(boxes: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Without those whose middle lies in a larger one: eyes and mouths in a face."""
    kept: list[NDArray[np.float64]] = []
    for box in sorted(boxes, key=lambda b: -b[2]):
        middle = box[:2] + box[2] / 2
        if not any(((middle >= k[:2]) & (middle <= k[:2] + k[2])).all() for k in kept):
            kept.append(box)
    return kept
