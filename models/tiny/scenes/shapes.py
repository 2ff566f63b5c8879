"""Outlines of the things, within a circle of radius 1 around the origin, y downwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.plan import Product, Shape

Outline = NDArray[np.float64]
"""Points x 2."""


def outlines(shape: Shape | Product) -> list[Outline]:
    """The closed lines around a thing; inside two of them is outside."""
    return _OUTLINES[shape]()


def _arc(radius: float, first: float = 0.0, last: float = 360.0, points: int = 64) -> Outline:
    angles = np.radians(np.linspace(first, last, points, endpoint=last - first < 360))
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _box(half_width: float, half_height: float) -> Outline:
    x, y = half_width, half_height
    return np.array([[-x, -y], [x, -y], [x, y], [-x, y]])


def _polar(*radii: float) -> Outline:
    """Corners at equal angles, the first one on top."""
    angles = np.radians(np.arange(len(radii)) * 360 / len(radii) - 90)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(points * np.array(radii)[:, None])


def _cross() -> Outline:
    arm, half = 0.98, 0.31
    corner = np.array([[half, -arm], [half, -half], [arm, -half]])
    quarter = np.array([[0, -1], [1, 0]])
    turns = [np.linalg.matrix_power(quarter, n) for n in range(4)]
    return np.concatenate([corner @ turn.T for turn in turns])


def _heart() -> Outline:
    # A well-known curve: x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t.
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=1) / 16.5


def _bottle() -> Outline:
    right = [(0.13, -1.0), (0.13, -0.55), (0.36, -0.22), (0.36, 0.92), (0.3, 1.0)]
    return _mirrored(right)


def _vase() -> Outline:
    right = [(0.28, -1.0), (0.17, -0.72), (0.3, -0.4), (0.52, 0.1), (0.5, 0.5), (0.26, 1.0)]
    return _mirrored(right)


def _mirrored(right: list[tuple[float, float]]) -> Outline:
    half = np.array(right)
    return np.concatenate([half, half[::-1] * (-1, 1)])


def _mug() -> list[Outline]:
    # The handle's hole lies between the body and the handle, so it is one line with it.
    body = np.array([[-0.62, -0.72], [0.42, -0.72], [0.42, 0.72], [-0.62, 0.72]])
    outer = _arc(0.46, -90, 90, 24) + np.array([0.42, 0.0])
    inner = _arc(0.27, -90, 90, 24) + np.array([0.42, 0.0])
    return [np.concatenate([body[:2], outer, body[2:]]), inner]


_OUTLINES: dict[Shape | Product, Callable[[], list[Outline]]] = {
    Shape.CIRCLE: lambda: [_arc(0.98)],
    Shape.SQUARE: lambda: [_box(0.82, 0.82)],
    Shape.TRIANGLE: lambda: [_polar(1.08, 1.08, 1.08) + np.array([0, 0.18])],
    Shape.STAR: lambda: [_polar(*(1.1, 0.45) * 5)],
    Shape.RING: lambda: [_arc(1.0), _arc(0.54)],
    Shape.CROSS: lambda: [_cross()],
    Shape.HEART: lambda: [_heart()],
    Shape.STRIPE: lambda: [_box(1.3, 0.36)],
    Product.BOTTLE: lambda: [_bottle()],
    Product.MUG: _mug,
    Product.BOX: lambda: [_box(0.78, 0.66)],
    Product.VASE: lambda: [_vase()],
    Product.BALL: lambda: [_arc(0.8)],
}
