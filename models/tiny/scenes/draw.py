"""Scenes as pixels, with smooth edges, at any size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.plan import COLOURS, Background, Backing, Product, Scene, Thing
from models.tiny.scenes.shapes import outlines

Pixels = NDArray[np.uint8]
"""Height x width x 3, sRGB."""
Floats = NDArray[np.float32]

_SHIFT = 4
"""OpenCV draws at sixteenths of a pixel."""
_COLOUR_SPREAD, _LIGHT_SPREAD = 3.0, 0.03
_FEET = {Product.BOX: 0.66, Product.BALL: 0.8, Product.MUG: 0.72}
"""Where a product stands, in parts of its radius below its centre; 1 unless told."""


def draw(scene: Scene, width: int, height: int, rng: np.random.Generator) -> Pixels:
    """The scene at so many pixels; ``rng`` varies each colour a little."""
    canvas = _background(scene.background, width, height, rng)
    for thing in scene.things:
        if isinstance(thing.shape, Product):
            _lay_shadow(canvas, thing)
        _lay(canvas, thing, _tint(thing.colour, rng))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _tint(name: str, rng: np.random.Generator) -> Floats:
    base = np.array(COLOURS[name], np.float32) + rng.normal(0, _COLOUR_SPREAD, 3)
    return np.asarray(np.clip(base * rng.normal(1, _LIGHT_SPREAD), 0, 255), np.float32)


def _background(
    background: Background, width: int, height: int, rng: np.random.Generator
) -> Floats:
    tints = [_tint(name, rng) for name in background.colours]
    if background.kind is Backing.PLAIN:
        return np.broadcast_to(tints[0], (height, width, 3)).copy()
    length = height if background.upright else width
    along = (np.arange(length, dtype=np.float32) + 0.5) / length
    if background.kind is Backing.GRADIENT:
        share = along[:, None]
    else:
        share = np.clip((along - background.share) * length + 0.5, 0, 1)[:, None]
    line = tints[0] + share * (tints[1] - tints[0])
    if background.kind is Backing.TABLE:
        # Light falls off along the table, which is what makes it lie.
        depth = np.clip((along - background.share) / (1 - background.share), 0, 1)
        line = line * (0.88 + 0.2 * depth).astype(np.float32)[:, None]
    laid = line[:, None] if background.upright else line[None]
    return np.broadcast_to(laid, (height, width, 3)).copy()


def _lay(canvas: Floats, thing: Thing, tint: Floats) -> None:
    height, width = canvas.shape[:2]
    reach = thing.radius * min(width, height)
    angle = np.radians(thing.turn)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = (thing.x * width, thing.y * height)
    lines = [line @ turn * reach + centre for line in outlines(thing.shape)]
    mask = np.zeros((height, width), np.uint8)
    points = [np.rint((line - 0.5) * (1 << _SHIFT)).astype(np.int32) for line in lines]
    cv2.fillPoly(mask, points, 255, lineType=cv2.LINE_AA, shift=_SHIFT)
    box = cv2.boundingRect(mask)
    if not box[2]:
        return
    there = np.s_[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
    share = mask[there].astype(np.float32)[..., None] / 255
    colour = tint if not isinstance(thing.shape, Product) else _lit(tint, box[2], thing.shape)
    canvas[there] += share * (colour - canvas[there])


def _lit(tint: Floats, width: int, product: Product) -> Floats:
    """A product's colour from its left to its right: light from the left, most of all on what
    is round."""
    across = np.linspace(-1, 1, width, dtype=np.float32)
    bend = 0.1 if product is Product.BOX else 0.3
    light = 1.06 - bend * (across * 0.6 + across**2 * 0.4)
    return np.asarray(np.clip(tint * light[:, None], 0, 255), np.float32)


def _lay_shadow(canvas: Floats, thing: Thing) -> None:
    height, width = canvas.shape[:2]
    assert isinstance(thing.shape, Product)
    reach = thing.radius * min(width, height)
    foot = thing.y * height + reach * _FEET.get(thing.shape, 1.0)
    y, x = np.ogrid[:height, :width]
    away = ((x - thing.x * width - 0.15 * reach) / (0.8 * reach)) ** 2
    away = away + ((y - foot) / (0.16 * reach)) ** 2
    canvas *= (1 - 0.45 * np.exp(-(away**1.5))).astype(np.float32)[..., None]
