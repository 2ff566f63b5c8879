"""Upscaling by Lanczos resampling (Duchon, 1979): the CPU twin of the upscalers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from farm.errors import FieldError, InvalidRequest
from farm.types import RunRequest
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, open_input

SCALE = 4
STRIP_ROWS = 64
"""Rows of the picture per strip: at the largest width allowed, 16,384 pixels after scaling,
a strip of the result is 16 MiB."""

_REACH = 3
"""Lanczos looks at three pixels on each side of where it is."""


class LanczosEngine(PictureEngine[Image.Image]):
    """Four times the width and the height, in strips, an alpha channel included.

    Colours are weighed by alpha, so that what is transparent leaves no fringe. A grey picture
    comes out in colour mode. The strips are computed while the file is written: neither the
    whole result nor a copy of it is ever in memory.
    """

    operation = "upscale"
    parameters = ("scale",)

    def _read(self, request: RunRequest) -> Image.Image:
        if request.params.get("scale", SCALE) != SCALE:
            raise InvalidRequest([FieldError("scale", f"must be {SCALE}.")])
        image = open_input(request, "image")
        return image.convert("RGB") if image.mode == "L" else image

    def _steps(self, work: Image.Image) -> int:
        return len(_tops(work))

    def _edit(self, work: Image.Image, stages: Stages) -> Edited:
        channels = len(work.getbands())
        strips = _strips(work, stages)
        return Edited(Rows(work.width * SCALE, work.height * SCALE, channels, strips))


def _tops(image: Image.Image) -> range:
    return range(0, image.height, STRIP_ROWS)


def _strips(image: Image.Image, stages: Stages) -> Iterator[Pixels]:
    for top in _tops(image):
        bottom = min(top + STRIP_ROWS, image.height)
        first, last = max(0, top - _REACH), min(bottom + _REACH, image.height)
        # Pillow would copy the whole picture for each strip to weigh it by its alpha.
        band = image.crop((0, first, image.width, last))
        box = (0, top - first, image.width, bottom - first)
        size = (image.width * SCALE, (bottom - top) * SCALE)
        yield np.asarray(band.resize(size, Image.Resampling.LANCZOS, box=box))
        stages.done()
