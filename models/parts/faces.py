"""A face taken out of its picture in a standard pose, and put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from farm.errors import FieldError, InvalidRequest
from models.parts.pictures import Pixels

SIDE = 512
"""Pixels of the square that the restorers were trained on."""

TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.19360],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Where eyes, nose and mouth lie in that square: the mean of the FFHQ data set's aligned
faces (Karras et al., 2019, arXiv:1812.04948), as GFPGAN and CodeFormer use it."""

MIDDLE, AXES, FADE = (256, 264), (172, 190), 48
"""What of the square is put back: an ellipse that holds a face, which fades out around it."""

_GREY = (128, 128, 128)
_BLUR = 0.4
"""How widely to blur before scaling down, in pixels of what it is scaled down to."""

_BAND = 512


def no_face(advice: str) -> NoReturn:
    """End the job with a sentence for the customer.

    Raises:
        InvalidRequest: always.
    """
    raise InvalidRequest([FieldError("image", f"No face was found in the picture. {advice}")])


@dataclass(frozen=True, slots=True)
class Pose:
    """A similarity from the picture to the square: 2 x 3, in pixels."""

    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.float64]) -> Pose:
        """The pose that brings a face's five points nearest to the template, in the sense of
        least squares (Umeyama, 1991, doi:10.1109/34.88573, without reflection).

        Raises:
            ValueError: the points are all in one place.
        """
        centre, goal = points.mean(axis=0), TEMPLATE.mean(axis=0)
        # In the plane, rotation and scale together are one complex number.
        here = (points - centre) @ np.array([1, 1j])
        there = (TEMPLATE - goal) @ np.array([1, 1j])
        size = np.vdot(here, here).real
        if size <= 0:
            raise ValueError("the points of a face are all in one place")
        turn = np.vdot(here, there) / size
        linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
        return cls(np.column_stack([linear, goal - linear @ centre]))

    @property
    def scale(self) -> float:
        """Pixels of the square per pixel of the picture."""
        return float(np.hypot(*self.matrix[:, 0]))

    def cut(self, picture: Pixels) -> Pixels:
        """The face in the square, 512 x 512 x 3; grey where the picture ends."""
        left, top, right, bottom = self._reach(picture.shape[1], picture.shape[0])
        part = np.ascontiguousarray(picture[top:bottom, left:right])
        if self.scale < 1:
            # What is scaled down must lose first what the square cannot show.
            part = np.asarray(cv2.GaussianBlur(part, (0, 0), _BLUR / self.scale), np.uint8)
        matrix = self.matrix @ _shift(left, top)
        return np.asarray(
            cv2.warpAffine(
                part,
                matrix,
                (SIDE, SIDE),
                flags=cv2.INTER_LINEAR if self.scale < 1 else cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=_GREY,
            )
        )

    def put_back(self, face: Pixels, picture: Pixels) -> None:
        """Lay the square's face over the picture, in place, with a fading edge. Pixels that it
        does not reach stay as they are, bit for bit."""
        left, top, right, bottom = self._reach(picture.shape[1], picture.shape[0])
        smaller = self.scale > 1
        if smaller:
            face = np.asarray(cv2.GaussianBlur(face, (0, 0), _BLUR * self.scale), np.uint8)
        shares = _share()
        for start in range(top, bottom, _BAND):  # a face may be as large as the picture
            part = picture[start : min(start + _BAND, bottom), left:right]
            size = (part.shape[1], part.shape[0])
            back = cv2.invertAffineTransform(self.matrix @ _shift(left, start))
            kind = cv2.INTER_LINEAR if smaller else cv2.INTER_CUBIC
            laid = cv2.warpAffine(face, back, size, flags=kind).astype(np.float32)
            share = cv2.warpAffine(shares, back, size, flags=cv2.INTER_LINEAR)[..., None]
            part[...] = np.rint(part + share * (laid - part))

    def _reach(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what the square covers of a picture of this size."""
        corners = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float64)
        back = cv2.invertAffineTransform(self.matrix)
        there = corners @ back[:, :2].T + back[:, 2]
        left, top = np.floor(there.min(axis=0)).astype(int) - 2
        right, bottom = np.ceil(there.max(axis=0)).astype(int) + 2
        return (
            min(max(0, int(left)), width - 1),
            min(max(0, int(top)), height - 1),
            max(1, min(width, int(right))),
            max(1, min(height, int(bottom))),
        )


def _shift(left: int, top: int) -> NDArray[np.float64]:
    """3 x 3: from the pixels of a part of a picture to those of the picture."""
    return np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)


def _share() -> NDArray[np.float32]:
    """512 x 512: how much of the square is put back, from 0 to 1."""
    outside = np.ones((SIDE, SIDE), np.uint8)
    cv2.ellipse(outside, MIDDLE, AXES, 0, 0, 360, (0,), -1)
    away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    linear = np.clip(1 - away / FADE, 0, 1)
    return np.asarray(linear * linear * (3 - 2 * linear), np.float32)
