"""A picture of any size on a canvas of a size that a model paints well."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

from models.parts.pictures import Pixels

LONGEST_RATIO = 4.0
"""SDXL was trained on pictures of up to four times their other side (its paper, appendix I)."""
GREY = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Canvas:
    """``width`` x ``height`` pixels, on which a picture lies scaled, its proportions kept.

    ``box`` is the left, top, right and bottom of where it lies: the middle. A picture that is
    longer than any canvas leaves the rest of it free.
    """

    width: int
    height: int
    box: tuple[int, int, int, int]

    @classmethod
    def around(cls, size: tuple[int, int], side: int, multiple: int) -> Self:
        """The canvas for a picture of this width and height: about ``side`` squared pixels
        large, its sides multiples of ``multiple``."""
        ratio = min(LONGEST_RATIO, max(1 / LONGEST_RATIO, size[0] / size[1]))
        width = _nearest(side * math.sqrt(ratio), multiple)
        height = _nearest(side / math.sqrt(ratio), multiple)
        scale = min(width / size[0], height / size[1])
        wide = min(width, max(1, round(size[0] * scale)))
        high = min(height, max(1, round(size[1] * scale)))
        left, top = (width - wide) // 2, (height - high) // 2
        return cls(width, height, (left, top, left + wide, top + high))

    def lay(self, cut_out: Image.Image) -> tuple[Image.Image, Image.Image]:
        """An RGBA picture on the canvas, on plain grey, and a mask (mode L) that is 255 where
        nothing of it is seen."""
        left, top, right, bottom = self.box
        scaled = cut_out.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        canvas = Image.new("RGB", (self.width, self.height), GREY)
        canvas.paste(scaled, (left, top), scaled)
        free = Image.new("L", canvas.size, 255)
        free.paste(scaled.getchannel("A").point(lambda level: 255 if level < 128 else 0), self.box)
        return canvas, free

    def take(self, painted: Image.Image, size: tuple[int, int]) -> Pixels:
        """The picture's part of a painted canvas, at the picture's own width and height:
        height x width x 3."""
        whole = painted.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=self.box)
        return np.asarray(whole)


def _nearest(pixels: float, multiple: int) -> int:
    return max(multiple, round(pixels / multiple) * multiple)
