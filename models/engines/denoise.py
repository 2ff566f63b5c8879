"""Face restoration by denoising and sharpening: the CPU twin of the face restorers."""

from __future__ import annotations

import numpy as np
from PIL import Image

from farm.types import RunRequest
from models.parts.cleaning import cleaned
from models.parts.face_boxes import Box, FaceBoxes
from models.parts.faces import no_face
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, flattened, joined, open_input, split

_ACROSS, _ABOVE, _BELOW = 0.95, 1.05, 0.95
"""Half axes of the oval around a face's middle, in sides of its box: hair and chin included."""
_FADE = 0.3
"""The outer share of the oval in which the restored face fades out."""


class DenoiseEngine(PictureEngine[Image.Image]):
    """Every face that is seen from the front loses its noise and gains in sharpness, and lies
    in the picture with a fading edge; nothing else changes, nor does an alpha channel.

    It invents no features: what a blur has taken away altogether stays away.
    """

    operation = "restore-face"

    _finder: FaceBoxes | None = None

    def _read(self, request: RunRequest) -> Image.Image:
        return open_input(request, "image")

    def _steps(self, work: Image.Image) -> int:
        return FaceBoxes.stages + 1

    def _edit(self, work: Image.Image, stages: Stages) -> Edited:
        assert self._finder is not None
        colours, alpha = split(work)
        seen = flattened(colours, alpha)
        boxes = self._finder.find(seen, stages.done)
        if not boxes:
            no_face(
                "Faces must be seen from the front and upright, be at least 24 pixels wide, "
                "and a sixteenth of the picture."
            )
        stages.total += len(boxes) - 1
        made = colours.copy()
        for box in boxes:
            _restore(box, seen, made)
            stages.done()
        return Edited(Rows.of(joined(made, alpha)), {"faces": len(boxes)})

    def _open(self, device: str) -> None:
        self._finder = FaceBoxes()

    def _close(self) -> None:
        self._finder = None


def _restore(box: Box, seen: Pixels, made: Pixels) -> None:
    """Lay one restored face over the picture, in place."""
    height, width = made.shape[:2]
    x, y = box.left + box.side / 2, box.top + box.side / 2
    left, right = max(0, int(x - _ACROSS * box.side)), min(width, int(x + _ACROSS * box.side) + 1)
    top, bottom = max(0, int(y - _ABOVE * box.side)), min(height, int(y + _BELOW * box.side) + 1)
    here = slice(top, bottom), slice(left, right)
    across = (np.arange(left, right) + 0.5 - x) / (_ACROSS * box.side)
    down = (np.arange(top, bottom) + 0.5 - y) / box.side
    down = np.where(down < 0, down / _ABOVE, down / _BELOW)
    share = np.clip((1 - np.hypot(across[None], down[:, None])) / _FADE, 0, 1)
    share = share * share * (3 - 2 * share)
    face = cleaned(np.ascontiguousarray(seen[here])).astype(np.float32)
    part = made[here]
    mixed = np.rint(part + share[..., None] * (face - part))
    part[...] = mixed.astype(np.uint8)
