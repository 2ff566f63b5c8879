"""Pictures with drawn faces, whose points the test's YuNet knows by their colours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.faces import AXES, FADE, MIDDLE, TEMPLATE
from tests.models.checkpoints.yunet import POINT_COLOURS

Pixels = NDArray[np.uint8]

_SHIFT = 4
"""OpenCV draws at sixteenths of a pixel."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A face: where its middle is, how wide its 512-pixel square is in the picture, and how
    far it is turned (degrees, clockwise)."""

    x: float
    y: float
    side: float
    turned: float = 0.0

    @property
    def points(self) -> NDArray[np.float64]:
        """5 x 2, in the picture's pixels."""
        angle = np.deg2rad(self.turned)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return (TEMPLATE - 256) * (self.side / 512) @ turn + (self.x, self.y)


def portrait(width: int, height: int, *faces: Drawn) -> Pixels:
    """Height x width x 3: faces before a wall."""
    y, x = np.mgrid[0:height, 0:width]
    wall = 120 + 30 * np.sin(x / 23) + 30 * np.cos(y / 17)
    picture = np.dstack([wall * 0.8, wall, wall * 1.1]).clip(0, 255).astype(np.uint8)
    for face in faces:
        _draw(picture, face)
    return picture


def reach(face: Drawn, width: int, height: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where in the picture the face's ellipse lies wholly, and where even its fading edge
    does not reach."""
    y, x = np.mgrid[0:height, 0:width]
    angle = np.deg2rad(face.turned)
    right, down = (x - face.x) * 512 / face.side, (y - face.y) * 512 / face.side
    across = right * np.cos(angle) + down * np.sin(angle) + 256 - MIDDLE[0]
    along = down * np.cos(angle) - right * np.sin(angle) + 256 - MIDDLE[1]
    slack = 4 + 512 / face.side
    inner, outer = (np.array(AXES) + by for by in (-slack, FADE + slack))
    return (
        np.hypot(across / inner[0], along / inner[1]) < 1,
        np.hypot(across / outer[0], along / outer[1]) > 1,
    )


def _draw(picture: Pixels, face: Drawn) -> None:
    unit = face.side / 512
    middle = (face.points[2] + face.points[:2].mean(axis=0)) / 2
    for size, colour in (((175, 220), (70, 45, 30)), ((150, 195), (225, 185, 155))):
        axes = _fine(np.array(size) * unit)
        cv2.ellipse(
            picture, _fine(middle), axes, face.turned, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT
        )
    mouth = face.points[3:].mean(axis=0)
    cv2.ellipse(
        picture,
        _fine(mouth),
        _fine(np.array([45, 14]) * unit),
        face.turned,
        0,
        360,
        (150, 50, 60),
        -1,
        cv2.LINE_AA,
        _SHIFT,
    )
    for point, colour in zip(face.points, POINT_COLOURS, strict=True):
        radius = int(max(2.0, 12 * unit) * 2**_SHIFT)
        cv2.circle(picture, _fine(point), radius, colour, -1, cv2.LINE_AA, _SHIFT)


def _fine(values: NDArray[np.float64]) -> tuple[int, int]:
    return round(values[0] * 2**_SHIFT), round(values[1] * 2**_SHIFT)
