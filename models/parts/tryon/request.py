"""What every try-on engine reads and answers: somebody, a garment, and where it is worn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from PIL import Image

from farm.errors import FieldError, InvalidRequest, SegmentationFailed
from farm.types import RunRequest
from models.parts import image_params
from models.parts.pictures import Pixels, flattened, open_input, split

UPPER, LOWER, DRESS = "upperbody", "lowerbody", "dress"
CATEGORIES = (UPPER, LOWER, DRESS)
PERSON, GARMENT = "person_image", "garment_image"

SIDE_MIN = 32
"""Of a picture of somebody, in pixels."""
REGION_MIN = 1 / 250
"""A region that is a smaller share of the picture is too small to dress."""

_MISSING = {
    UPPER: "The upper body was not found: it must be seen from the neck to the hips.",
    LOWER: "The lower body was not found: it must be seen from the waist to the feet.",
    DRESS: "The body was not found: it must be seen from the neck to the knees.",
}
_ADVICE = "Send a picture of one person who faces the camera and stands out from the background."


@dataclass(frozen=True, slots=True)
class TryOn:
    """One job: who wears what, where, and from which noise.

    ``person`` is height x width x 3 and ``alpha`` the opacity that it came with, if any;
    where it is transparent it is grey. ``garment`` is RGB or RGBA.
    """

    person: Pixels
    alpha: Pixels | None
    garment: Image.Image
    category: str
    seed: int


def read_tryon(request: RunRequest) -> TryOn:
    """Read a job's parameters and pictures.

    Raises:
        InvalidRequest: naming what is missing, unknown or unusable.
        SegmentationFailed: the picture is too small to hold anybody.
    """
    params = request.params
    image_params.check(params, required=("category", "seed"))
    category = params["category"]
    if category not in CATEGORIES:
        choices = f"must be one of {', '.join(CATEGORIES)}."
        raise InvalidRequest([FieldError("category", choices)])
    colours, alpha = split(open_input(request, PERSON))
    garment = open_input(request, GARMENT)
    if garment.mode == "L":
        garment = garment.convert("RGB")
    if min(colours.shape[:2]) < SIDE_MIN:
        not_found(category)
    return TryOn(flattened(colours, alpha), alpha, garment, category, params["seed"])


def check_region(region: Pixels, category: str) -> None:
    """Refuse a region (height x width, 0 and 255) that is next to nothing.

    Raises:
        SegmentationFailed: see :func:`not_found`.
    """
    if np.count_nonzero(region) < REGION_MIN * region.size:
        not_found(category)


def not_found(category: str) -> NoReturn:
    """End the job since nobody, or not enough of them, is in the picture.

    Raises:
        SegmentationFailed: saying what must be seen.
    """
    raise SegmentationFailed([FieldError(PERSON, f"{_MISSING[category]} {_ADVICE}")])
