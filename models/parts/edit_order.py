"""A job that wants a picture changed by words: what it brings, and how large its result is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
from PIL import Image, ImageOps

from farm.types import RunRequest
from models.parts import sizes
from models.parts.image_params import EditParams
from models.parts.pictures import Pixels, flattened, open_input, open_mask, split

PICTURES = ("image", "image_2", "image_3", "image_4")
"""The names of a job's pictures; the first is the one that is changed."""
SIDE_MIN, SIDE_MAX = 256, 2048
"""Pixels of a result's side where nobody asks for a size."""
FADES = 1 / 64
"""How far around its mask an edit fades out, in longer sides of the picture."""
FADE_MIN = 4
_PAPER = 255


@dataclass(frozen=True, slots=True)
class Order:
    """One job, read: RGB pictures, ``size`` the width and height of the result, and the mask
    (0 and 255, height x width of the first picture) where the job has one."""

    params: EditParams
    pictures: tuple[Image.Image, ...]
    size: tuple[int, int]
    mask: Pixels | None = None

    @classmethod
    def read(cls, request: RunRequest, params: EditParams) -> Self:
        """Open a job's pictures. What is transparent in them lies on white.

        Raises:
            InvalidRequest: the first is not there, or the mask does not fit it.
        """
        names = [name for name in PICTURES if name in request.inputs or name == PICTURES[0]]
        pictures = tuple(_opaque(open_input(request, name)) for name in names)
        own = pictures[0].size
        size = result_size(own, params.width, params.height)
        return cls(params, pictures, size, open_mask(request, "mask", own, "is changed"))

    @property
    def text(self) -> Mapping[str, Any]:
        """What is said of it beside model and job."""
        return {"seed": self.params.seed, "steps": self.params.steps}

    def first(self) -> Image.Image:
        """The first picture at the result's size: scaled until it covers it, and cut."""
        picture = self.pictures[0]
        return picture if picture.size == self.size else ImageOps.fit(picture, self.size)

    def kept(self, made: Pixels) -> Pixels:
        """What was made, only where the mask wants it (the whole of it without a mask); both
        are height x width x 3 of the result's size. Around the mask it fades into the first
        picture, of which all pixels further away stay as they are."""
        if self.mask is None:
            return made
        mask = Image.fromarray(self.mask)
        if mask.size != self.size:
            mask = ImageOps.fit(mask, self.size, Image.Resampling.NEAREST)
        away = cv2.distanceTransform(255 - np.asarray(mask), cv2.DIST_L2, cv2.DIST_MASK_5)
        fade = max(FADE_MIN, FADES * max(self.size))
        share = np.clip(1 - away / fade, 0, 1).astype(np.float32)[..., None]
        before = np.asarray(self.first())
        mixed: Pixels = np.rint(before + share * (made.astype(np.float32) - before)).astype(
            np.uint8
        )
        return mixed


def result_size(own: tuple[int, int], width: int | None, height: int | None) -> tuple[int, int]:
    """Width and height of a result: those asked for; of one alone, the other keeps the
    picture's proportions; of none, the picture's own, scaled as little as brings both sides
    between SIDE_MIN and SIDE_MAX. A picture too long for that keeps its proportions, and has
    its longer side at SIDE_MAX.
    """
    if width is not None and height is not None:
        return width, height
    if width is not None:
        return width, _bounded(own[1] * width / own[0])
    if height is not None:
        return _bounded(own[0] * height / own[1]), height
    scale = min(max(1.0, SIDE_MIN / min(own)), SIDE_MAX / max(own))
    return max(1, round(own[0] * scale)), max(1, round(own[1] * scale))


def _bounded(pixels: float) -> int:
    return max(SIDE_MIN, min(SIDE_MAX, round(pixels)))


def framed(picture: Image.Image, multiple: int) -> Image.Image:
    """A picture with its edge pixels repeated around it, until both sides are multiples of
    ``multiple``; :func:`models.parts.sizes.crop` takes the frame off again."""
    wide, high = sizes.padded(picture.width, multiple), sizes.padded(picture.height, multiple)
    left, top = (wide - picture.width) // 2, (high - picture.height) // 2
    frame = (top, high - picture.height - top, left, wide - picture.width - left)
    whole = cv2.copyMakeBorder(np.asarray(picture), *frame, cv2.BORDER_REPLICATE)
    return Image.fromarray(np.asarray(whole, np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    colours, alpha = split(image)
    return Image.fromarray(flattened(colours, alpha, _PAPER))
