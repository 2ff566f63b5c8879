"""Face restoration by noise removal and sharpening: the CPU twin of GFPGAN."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from farm.errors import FieldError, InvalidRequest
from farm.types import RunRequest
from models.parts.face_search import Face, FaceSearch
from models.parts.holes import bounds, pasted
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, flattened, joined, open_input, split
from models.parts.sharpening import clearer

REACH = 0.75
"""Half the height of the ellipse that is restored, in sides of the face's square; it is 0.85
times as wide."""
FADE = 0.2
"""Over how much of that side the restored face fades into the picture."""


class DenoiseEngine(PictureEngine[Image.Image]):
    """Every face is found (see :mod:`models.parts.face_search`), cleared of noise, sharpened
    and put back with a fading edge; nothing else changes, nor does an alpha channel.

    It brings out what is there and invents nothing: a face of few pixels stays one.
    """

    operation = "restore-face"

    _search: FaceSearch | None = None

    def _read(self, request: RunRequest) -> Image.Image:
        return open_input(request, "image")

    def _steps(self, work: Image.Image) -> int:
        return FaceSearch.stages(work.width, work.height) + 1

    def _edit(self, work: Image.Image, stages: Stages) -> Edited:
        assert self._search is not None
        colours, alpha = split(work)
        seen = flattened(colours, alpha)
        faces = self._search.faces(seen, stages.done)
        if not faces:
            raise InvalidRequest(
                [
                    FieldError(
                        "image",
                        "No face was found in the picture. Faces must be seen from the front "
                        "and stand upright.",
                    )
                ]
            )
        stages.total += len(faces) - 1
        made = colours.copy()
        for face in faces:
            _restore(face, seen, made)
            stages.done()
        return Edited(Rows.of(joined(made, alpha)), {"faces": len(faces)})

    def _open(self, device: str) -> None:
        self._search = FaceSearch()

    def _close(self) -> None:
        self._search = None


def _restore(face: Face, seen: Pixels, made: Pixels) -> None:
    """Lay one restored face over ``made``, in place."""
    mask = ellipse(face, seen.shape[1], seen.shape[0])
    if not mask.any():
        return
    fade = max(2, round(FADE * face.side))
    left, top, right, bottom = bounds(mask, 2 * fade)
    here = (slice(top, bottom), slice(left, right))
    made[here] = pasted(made[here], clearer(np.ascontiguousarray(seen[here])), mask[here], fade)


def ellipse(face: Face, width: int, height: int) -> Pixels:
    """What is restored of a picture of this size (255, else 0), before the fading edge."""
    middle = (round(face.left + face.side / 2), round(face.top + face.side / 2))
    axes = (round(0.85 * REACH * face.side), round(REACH * face.side))
    mask = np.zeros((height, width), np.uint8)
    return np.asarray(cv2.ellipse(mask, middle, axes, 0, 0, 360, (255,), -1))
