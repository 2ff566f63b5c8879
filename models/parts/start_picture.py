"""The picture that a film begins with: the shape that it gives the film, and how it fits in."""

from __future__ import annotations

import math

from PIL import Image

from farm.types import RunRequest
from models.parts import pictures

INPUT = "image"
"""The card's name for it."""
RATIO_MAX = 3.0
"""No film is longer on one side than this many times the other: of a picture that is, the middle
is filmed."""


def opened(request: RunRequest) -> Image.Image:
    """The job's picture in RGB; what is transparent lies on grey.

    Raises:
        InvalidRequest: the job came without it.
    """
    colours, alpha = pictures.split(pictures.open_input(request, INPUT))
    return Image.fromarray(pictures.flattened(colours, alpha))


def film_size(picture: tuple[int, int], area: int, multiple: int) -> tuple[int, int]:
    """Width and height of a film in the shape of a picture of this width and height.

    It has as many pixels as ``area``, or a few less, and the picture's own proportions but for
    this: each side is a multiple of ``multiple`` (the next below), and none is more than
    RATIO_MAX times the other. An upright picture gives an upright film.
    """
    ratio = min(RATIO_MAX, max(1 / RATIO_MAX, picture[0] / picture[1]))
    sides = math.sqrt(area * ratio), math.sqrt(area / ratio)
    width, height = (round(side) // multiple * multiple for side in sides)
    return width, height


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at exactly this size: scaled until it covers it, and what then stands over on
    two opposite sides cut off, equally. Nothing is squeezed and no border is added."""
    scale = max(width / picture.width, height / picture.height)
    seen = width / scale, height / scale
    left, top = (picture.width - seen[0]) / 2, (picture.height - seen[1]) / 2
    box = (
        max(0.0, left),
        max(0.0, top),
        min(float(picture.width), left + seen[0]),
        min(float(picture.height), top + seen[1]),
    )
    return picture.resize((width, height), Image.Resampling.LANCZOS, box=box)
