"""Finding faces with YuNet (Wu et al., 2023, doi:10.1007/s11633-023-1423-y), by OpenCV."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.matting import OnStage
from models.parts.pictures import Pixels
from models.parts.tiles import Grid

SIDE = 640
"""The network sees squares of this size: it was trained on them, and some of its files take
no other."""
LEVELS = (320, 640, 1280)
"""The picture is looked at with its longer side scaled down to each of these: YuNet finds
faces of 10 to 300 pixels."""
SCORE_MIN = 0.6
_OVERLAP = 160
_SAME = 0.3


@dataclass(frozen=True, slots=True)
class Face:
    """Where a face is, in the picture's pixels.

    ``box`` is left, top, right, bottom. ``points`` is 5 x 2 (x, y): the eye, the other eye,
    the tip of the nose, and the corners of the mouth, from left to right as one sees them.
    """

    box: tuple[float, float, float, float]
    score: float
    points: NDArray[np.float64]


class FaceFinder:
    """``path`` is an ONNX file as the OpenCV Zoo publishes them.

    It runs on the CPU, whatever the device: a look takes some 30 ms.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._detector: Any = None

    @property
    def loaded_bytes(self) -> int:
        """Bytes of the weights in main memory; 0 while unloaded."""
        return self._path.stat().st_size if self._detector is not None else 0

    def load(self) -> None:
        """Read the file; a no-op when loaded."""
        if self._detector is not None:
            return
        with _without_warnings():
            self._detector = cv2.FaceDetectorYN.create(
                str(self._path), "", (SIDE, SIDE), score_threshold=SCORE_MIN
            )

    def unload(self) -> None:
        """Let go of it; a no-op when unloaded."""
        self._detector = None

    @staticmethod
    def stages(width: int, height: int) -> int:
        """How often :meth:`faces` calls ``on_stage`` for a picture of this size."""
        return sum(grid.count for _, grid in _levels(width, height))

    def faces(self, picture: Pixels, on_stage: OnStage) -> list[Face]:
        """Every face in a picture, height x width x 3, from the surest to the least sure."""
        found: list[Face] = []
        for (width, height), grid in _levels(picture.shape[1], picture.shape[0]):
            smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            scaled: Pixels = np.asarray(smaller, np.uint8)
            factors = np.array([picture.shape[1] / width, picture.shape[0] / height])
            for top in grid.tops:
                for left in grid.lefts:
                    tile = scaled[top : top + SIDE, left : left + SIDE]
                    found += self._in_tile(tile, np.array([left, top]), factors)
                    on_stage()
        return _without_doubles(found)

    def _in_tile(
        self, tile: Pixels, corner: NDArray[np.int64], factors: NDArray[np.float64]
    ) -> list[Face]:
        square = np.zeros((SIDE, SIDE, 3), np.uint8)
        square[: tile.shape[0], : tile.shape[1]] = tile[..., ::-1]  # OpenCV wants BGR
        _, rows = self._detector.detect(square)
        faces = []
        for row in [] if rows is None else rows.astype(np.float64):
            points = (row[4:14].reshape(5, 2) + corner) * factors
            left, top = (row[:2] + corner) * factors
            right, bottom = (row[:2] + row[2:4] + corner) * factors
            box = (float(left), float(top), float(right), float(bottom))
            faces.append(Face(box, float(row[14]), points))
        return faces


def _levels(width: int, height: int) -> list[tuple[tuple[int, int], Grid]]:
    """The sizes to look at, and the tiles of each; none is larger than the picture."""
    longer = max(width, height)
    sides = [side for side in LEVELS if side < longer]
    if len(sides) < len(LEVELS):
        sides.append(longer)
    levels = []
    for side in sides:
        size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
        levels.append((size, Grid(*size, SIDE, _OVERLAP)))
    return levels


def _without_doubles(faces: list[Face]) -> list[Face]:
    """One of each: levels and tiles find the same face again, tiles also half of one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_overlap(face, other) < _SAME for other in kept):
            kept.append(face)
    return kept


def _overlap(one: Face, other: Face) -> float:
    """The common area over the smaller of two faces' areas."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    smaller = min(_area(one), _area(other))
    return max(0.0, width) * max(0.0, height) / smaller if smaller > 0 else 0.0


def _area(face: Face) -> float:
    return (face.box[2] - face.box[0]) * (face.box[3] - face.box[1])


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Errors only from OpenCV: its new engine tells, of every network, that targets are not
    supported yet, even when the target is the CPU."""
    logging: Any = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(before)
