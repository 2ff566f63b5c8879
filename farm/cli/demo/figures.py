"""The two pictures of the demo's try-on: a person before a wall, and a shirt."""

from __future__ import annotations

import random
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter

PERSON_PX = (576, 768)
GARMENT_PX = (768, 768)
_SCALE = 2
"""Drawn this much larger and scaled down, which makes edges as soft as a lens does."""

_SKIN, _HAIR, _SHIRT, _TROUSERS, _SHOE = (
    (214, 164, 132),
    (58, 40, 30),
    (52, 96, 152),
    (66, 64, 72),
    (30, 28, 28),
)
_RED = (178, 44, 52)

Point = tuple[float, float]


class _Canvas:
    """A picture that is drawn on in parts of its width and height, each shape shaded."""

    def __init__(self, size: tuple[int, int], top: int, bottom: int) -> None:
        self.size = (size[0] * _SCALE, size[1] * _SCALE)
        light = Image.linear_gradient("L").resize(self.size)
        dark, bright = (
            Image.new("RGB", self.size, (bottom,) * 3),
            Image.new("RGB", self.size, (top,) * 3),
        )
        self.picture = Image.composite(dark, bright, light)

    def shape(self, points: Sequence[Point], colour: tuple[int, int, int]) -> None:
        """A closed shape through these points, with soft corners, darker to the right."""
        mask = Image.new("L", self.size, 0)
        ImageDraw.Draw(mask).polygon([self._at(point) for point in points], fill=255)
        self._fill(_soft(mask, self.size[0] / 90), colour)

    def oval(self, centre: Point, radii: Point, colour: tuple[int, int, int]) -> None:
        """An ellipse."""
        (x, y), (right, down) = self._at(centre), self._at(radii)
        mask = Image.new("L", self.size, 0)
        ImageDraw.Draw(mask).ellipse((x - right, y - down, x + right, y + down), fill=255)
        self._fill(mask, colour)

    def finished(self, seed: int) -> Image.Image:
        """The picture at its own size, with a little grain."""
        small = self.picture.resize(
            (self.size[0] // _SCALE, self.size[1] // _SCALE), Image.Resampling.LANCZOS
        )
        noise = random.Random(seed).randbytes(small.width * small.height)
        grain = Image.frombytes("L", small.size, noise).filter(ImageFilter.GaussianBlur(0.7))
        grain = grain.point(lambda value: value // 16)
        return ImageChops.subtract(small, Image.merge("RGB", (grain,) * 3), scale=1, offset=8)

    def _fill(self, mask: Image.Image, colour: tuple[int, int, int]) -> None:
        box = mask.getbbox()
        if box is None:
            return
        size = (box[2] - box[0], box[3] - box[1])
        light = Image.linear_gradient("L").rotate(90).resize(size)
        shaded = Image.composite(
            Image.new("RGB", size, colour),
            Image.new("RGB", size, (colour[0] * 4 // 5, colour[1] * 4 // 5, colour[2] * 4 // 5)),
            light,
        )
        self.picture.paste(shaded, box[:2], mask.crop(box))

    def _at(self, point: Point) -> tuple[int, int]:
        return round(point[0] * self.size[0]), round(point[1] * self.size[1])


def person() -> Image.Image:
    """Somebody in a blue shirt and grey trousers who faces the camera, from head to foot."""
    canvas = _Canvas(PERSON_PX, 232, 208)
    canvas.oval((0.5, 0.965), (0.22, 0.018), (176, 172, 168))
    for side in (-1, 1):

        def at(x: float, y: float, side: int = side) -> Point:
            return 0.5 + side * x, y

        canvas.shape([at(0.02, 0.52), at(0.125, 0.52), at(0.115, 0.94), at(0.045, 0.94)], _TROUSERS)
        canvas.oval(at(0.085, 0.95), (0.05, 0.016), _SHOE)
        canvas.shape([at(0.135, 0.30), at(0.19, 0.31), at(0.235, 0.52), at(0.20, 0.53)], _SKIN)
        canvas.oval(at(0.22, 0.545), (0.026, 0.026), _SKIN)
        canvas.shape([at(0.10, 0.205), at(0.165, 0.22), at(0.205, 0.35), at(0.14, 0.37)], _SHIRT)
    canvas.shape([(0.455, 0.14), (0.545, 0.14), (0.555, 0.22), (0.445, 0.22)], _SKIN)
    canvas.shape(
        [(0.44, 0.20), (0.56, 0.20), (0.655, 0.225), (0.635, 0.55), (0.365, 0.55), (0.345, 0.225)],
        _SHIRT,
    )
    canvas.oval((0.5, 0.20), (0.052, 0.024), _SKIN)
    canvas.oval((0.5, 0.095), (0.075, 0.075), _HAIR)
    canvas.oval((0.5, 0.115), (0.06, 0.066), _SKIN)
    for x in (0.475, 0.525):
        canvas.oval((x, 0.11), (0.009, 0.005), _HAIR)
    canvas.oval((0.5, 0.15), (0.02, 0.0035), _RED)
    return canvas.finished(3)


def garment() -> Image.Image:
    """A red T-shirt, laid flat on a light ground."""
    canvas = _Canvas(GARMENT_PX, 246, 240)
    canvas.shape(
        [(0.38, 0.14), (0.43, 0.19), (0.5, 0.21), (0.57, 0.19), (0.62, 0.14),
         (0.78, 0.19), (0.94, 0.40), (0.82, 0.48), (0.73, 0.38), (0.73, 0.88),
         (0.27, 0.88), (0.27, 0.38), (0.18, 0.48), (0.06, 0.40), (0.22, 0.19)],
        _RED,
    )  # fmt: skip
    return canvas.finished(5)


def _soft(mask: Image.Image, radius: float) -> Image.Image:
    """The shape with its corners rounded off."""
    blurred = mask.filter(ImageFilter.GaussianBlur(radius))
    return blurred.point(lambda value: 255 if value > 127 else 0)
