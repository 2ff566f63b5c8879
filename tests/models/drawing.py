"""Brushes for pictures whose mask is known exactly: things, and what lies behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float32]
Random = np.random.Generator
Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

_FINER = 3
"""Things are drawn this much larger and averaged, which gives their edges true coverage."""


class Thing:
    """A canvas for one thing: coordinates run from 0 to 1 across its box, y downwards.

    ``box`` is (left, top, width, height) as shares of the picture's size.
    """

    def __init__(self, size: tuple[int, int], box: tuple[float, float, float, float]) -> None:
        self._size = size
        self._box = box
        large = (size[0] * _FINER, size[1] * _FINER)
        self._mask = Image.new("L", large, 0)
        self._colours = Image.new("RGB", large, (0, 0, 0))
        self._on_mask = ImageDraw.Draw(self._mask)
        self._on_colours = ImageDraw.Draw(self._colours)

    def polygon(self, points: Points, colour: Colour | None) -> None:
        """Filled; a colour of None cuts a hole, here and below."""
        self._draw("polygon", [self._place(x, y) for x, y in points], colour)

    def ellipse(
        self, left: float, top: float, right: float, low: float, colour: Colour | None
    ) -> None:
        self._draw("ellipse", [self._place(left, top), self._place(right, low)], colour)

    def rectangle(
        self,
        left: float,
        top: float,
        right: float,
        low: float,
        colour: Colour | None,
        round_by: float = 0,
    ) -> None:
        radius = int(round_by * self._box[2] * self._size[0] * _FINER)
        points = [self._place(left, top), self._place(right, low)]
        if radius:
            self._draw("rounded_rectangle", points, colour, radius=radius)
        else:
            self._draw("rectangle", points, colour)

    def line(self, points: Points, thick: float, colour: Colour | None) -> None:
        width = max(1, int(thick * self._box[2] * self._size[0] * _FINER))
        placed = [self._place(x, y) for x, y in points]
        self._draw("line", placed, colour, width=width, joint="curve")
        for x, y in placed:
            ends = [(x - width / 2, y - width / 2), (x + width / 2, y + width / 2)]
            self._draw("ellipse", ends, colour)

    def finished(self, random: Random, softness: float = 0.7) -> tuple[Floats, Floats]:
        """Coverage (height x width, 0 to 1) and colours (x 3, 0 to 255), known everywhere.

        Light falls from one side, and the surface has a grain. ``softness`` is the blur of
        the edge in pixels.
        """
        width, height = self._size
        large = np.asarray(self._mask, np.float32) / 255
        weighed = np.asarray(self._colours, np.float32) * large[..., None]
        cover = np.asarray(cv2.resize(large, self._size, interpolation=cv2.INTER_AREA), np.float32)
        mean = cv2.resize(weighed, self._size, interpolation=cv2.INTER_AREA)
        colour = _spread(np.asarray(mean, np.float32), cover)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        left, top, wide, high = self._box
        u = (x / width - left) / wide - 0.5
        v = (y / height - top) / high - 0.5
        angle = random.uniform(0, 2 * np.pi)
        light = 1 + 0.35 * (np.cos(angle) * u + np.sin(angle) * v) - 0.25 * (u * u + v * v)
        grain = octaves(random, height, width, 4) * random.uniform(2, 7)
        shaded = np.clip(colour * light[..., None] + grain[..., None], 0, 255)
        return np.clip(blurred(cover, softness), 0, 1), shaded.astype(np.float32)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        left, top, width, height = self._box
        across = (left + x * width) * self._size[0] * _FINER
        return across, (top + y * height) * self._size[1] * _FINER

    def _draw(self, shape: str, points: Points, colour: Colour | None, **more: Any) -> None:
        getattr(self._on_mask, shape)(points, fill=0 if colour is None else 255, **more)
        if colour is not None:
            getattr(self._on_colours, shape)(points, fill=colour, **more)


def blurred(values: Floats, sigma: float) -> Floats:
    """Gaussian blur, sigma in pixels."""
    if sigma <= 0:
        return values
    made = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(made, np.float32).reshape(values.shape)


def octaves(random: Random, height: int, width: int, count: int, stretch: float = 1) -> Floats:
    """Smooth random hills, about -1 to 1; ``stretch`` makes them longer across."""
    out = np.zeros((height, width), np.float32)
    for octave in range(count):
        rows = max(2, round(4 * 2**octave))
        columns = max(2, round(4 * 2**octave / stretch))
        coarse = random.standard_normal((rows, columns)).astype(np.float32)
        out += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 1.6**octave
    return np.asarray(out / (np.abs(out).max() + 1e-6), np.float32)


def photographed(values: Floats, random: Random, noise: float) -> NDArray[np.uint8]:
    """Colours as a sensor gives them: more noise in the light, a little everywhere."""
    strength = noise * (0.6 + 0.6 * np.sqrt(np.clip(values, 0, 255) / 255))
    noisy = values + random.standard_normal(values.shape).astype(np.float32) * strength
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _spread(mean: Floats, cover: Floats) -> Floats:
    """Colours (weighed by coverage) spread from where the thing is to where it is not."""
    out = mean / np.maximum(cover, 1e-6)[..., None]
    known = cover > 1e-3
    weights = known.astype(np.float32)
    for side in (9, 33, 257):
        share = cv2.blur(weights, (side, side))
        near = cv2.blur(out * weights[..., None], (side, side)) / np.maximum(share, 1e-9)[..., None]
        fresh = (share > 1e-5) & ~known
        out[fresh] = near[fresh]
        known = known | fresh
        weights = known.astype(np.float32)
    out[~known] = 128
    return np.asarray(out, np.float32)


Painter = Callable[[Random, int, int], Floats]
"""Paints a background: random, height, width -> height x width x 3, 0 to 255."""


def _filled(height: int, width: int, colour: Colour) -> Floats:
    return np.full((height, width, 3), colour, np.float32)


def plain(colour: Colour) -> Painter:
    """One colour, lit a little unevenly."""

    def paint(random: Random, height: int, width: int) -> Floats:
        hills = octaves(random, height, width, 2) * 6
        return _filled(height, width, colour) + hills[..., None]

    return paint


def gradient(first: Colour, last: Colour, angle: float) -> Painter:
    """From one colour to another along a direction (radians)."""

    def paint(random: Random, height: int, width: int) -> Floats:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        along = np.cos(angle) * (x / width - 0.5) + np.sin(angle) * (y / height - 0.5)
        share = np.clip(along + 0.5, 0, 1)[..., None]
        return _filled(height, width, first) * (1 - share) + _filled(height, width, last) * share

    return paint


def vignette(middle: Colour, edge: Colour) -> Painter:
    """Bright behind the thing, another colour at the corners: a studio's backdrop."""

    def paint(random: Random, height: int, width: int) -> Floats:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        radius = np.hypot(x / width - 0.5, y / height - 0.45) / 0.7
        share = np.clip(radius, 0, 1)[..., None] ** 1.5
        return _filled(height, width, middle) * (1 - share) + _filled(height, width, edge) * share

    return paint


def two_tone(wall: Colour, table: Colour, at: float) -> Painter:
    """A wall and a table that meet in a line."""

    def paint(random: Random, height: int, width: int) -> Floats:
        out = _filled(height, width, wall)
        y = np.arange(height, dtype=np.float32)[:, None, None]
        share = np.clip((y - at * height) / 2, 0, 1)
        out = out * (1 - share) + _filled(height, width, table) * share
        return out + octaves(random, height, width, 4)[..., None] * 6

    return paint


def wood(dark: Colour, light: Colour) -> Painter:
    """Planks with a grain along x."""

    def paint(random: Random, height: int, width: int) -> Floats:
        hills = octaves(random, height, width, 5, stretch=8)
        y = np.mgrid[0:height, 0:width][0].astype(np.float32)
        rings = 0.5 + 0.5 * np.sin(hills * 14 + y / height * 20)
        fine = octaves(random, height, width, 7, stretch=12) * 0.25
        share = np.clip(rings * 0.75 + fine, 0, 1)[..., None]
        out = _filled(height, width, dark) * (1 - share) + _filled(height, width, light) * share
        seams = (y % (height / 5) < 2)[..., None]
        return np.where(seams, out * 0.6, out).astype(np.float32)

    return paint


def fabric(colour: Colour, depth: float) -> Painter:
    """A weave of crossing threads."""

    def paint(random: Random, height: int, width: int) -> Floats:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        weave = np.sin(x * 1.05) * np.sin(y * 0.95) + 0.5 * np.sin((x + y) * 0.31)
        rough = octaves(random, height, width, 6)
        return _filled(height, width, colour) + (weave * depth + rough * depth)[..., None]

    return paint


def tiled(first: Colour, second: Colour, across: int) -> Painter:
    """Tiles of two colours."""

    def paint(random: Random, height: int, width: int) -> Floats:
        y, x = np.mgrid[0:height, 0:width]
        side = max(1, width // across)
        odd = (((x // side) + (y // side)) % 2 == 1)[..., None]
        out = np.where(odd, _filled(height, width, first), _filled(height, width, second))
        return blurred(out.astype(np.float32), 0.8)

    return paint


def speckled(colour: Colour, strength: float) -> Painter:
    """Gravel, terrazzo, a rough wall: grains of a few pixels in every shade."""

    def paint(random: Random, height: int, width: int) -> Floats:
        grains = random.standard_normal((height, width, 3)).astype(np.float32)
        tinted = blurred(grains, 1.6) * 0.5 + blurred(grains.mean(axis=2), 2.2)[..., None]
        return _filled(height, width, colour) + tinted / tinted.std() * strength

    return paint


def cluttered(
    below: Painter, colours: Sequence[Colour], count: int, blur: float, clear: float
) -> Painter:
    """Boxes and balls in front of another background, out of focus by ``blur`` pixels.

    They keep ``clear`` (a share of the picture) from its middle; 0 puts some behind the thing.
    """

    def paint(random: Random, height: int, width: int) -> Floats:
        image = Image.fromarray(np.clip(below(random, height, width), 0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(image)
        for index in range(count):
            angle = 2 * np.pi * (index + random.uniform(0, 0.7)) / count
            reach = max(clear, random.uniform(0.25, 0.62))
            x = (0.5 + reach * np.cos(angle)) * width
            y = (0.5 + reach * np.sin(angle)) * height
            wide, high = random.uniform(0.03, 0.1, 2) * (width, height)
            colour = colours[index % len(colours)]
            shape = pen.rectangle if index % 2 else pen.ellipse
            shape((x - wide, y - high, x + wide, y + high), fill=colour)
        return blurred(np.asarray(image, np.float32), blur)

    return paint
