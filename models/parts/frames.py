"""A camera that moves over a picture: where it looks, and what it then sees."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from models.parts.pictures import Pixels

Easing = Callable[[float], float]
"""From the share of time that is over to the share of the way that is done; both 0 to 1."""

_WIDE, _NEAR, _MIDDLE = 0.97, 0.72, 0.82
"""Shares of the picture that the camera sees: all but an edge, a close view, one between."""
_TURN_DEG = 9.0
_CREEP = 0.3
"""The share of every way that is done at an even pace, so that no two frames are the same."""
_LIGHT = 0.07
"""By how much the light rises and falls around that of the picture."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the camera looks: the share of the picture's size that it sees, where in the room
    that leaves it stands (-1 to 1 across and down), and its angle in degrees."""

    share: float
    across: float
    down: float
    angle: float

    def towards(self, other: Pose, way: float) -> Pose:
        """The pose at a share of the way to another."""
        return Pose(
            self.share + way * (other.share - self.share),
            self.across + way * (other.across - self.across),
            self.down + way * (other.down - self.down),
            self.angle + way * (other.angle - self.angle),
        )


@dataclass(frozen=True, slots=True)
class Flight:
    """One smooth move, and how the light changes meanwhile (``dawn`` is a phase, 0 to 1)."""

    start: Pose
    end: Pose
    easing: Easing
    dawn: float

    @classmethod
    def planned(cls, prompt: str, seed: int) -> Self:
        """The move that the prompt names (zoom in or out, pan left, right, up or down, rotate),
        or else one of the seed's choice; the seed decides its details either way."""
        draw = random.Random(seed)
        words = prompt.lower().split()
        moves = [move for move in _MOVES if any(_stem(word) in _MOVES[move] for word in words)]
        move = moves[0] if moves else draw.choice(sorted(_MOVES))
        side = {"left": -1.0, "right": 1.0, "up": -1.0, "down": 1.0}
        ways = [word.strip(".,;:!") for word in words if word.strip(".,;:!") in side]
        way = ways[0] if ways else draw.choice(["left", "right"])
        drift = draw.uniform(-0.4, 0.4), draw.uniform(-0.4, 0.4)
        if move == "pan" and way in ("up", "down"):
            ends = (Pose(_NEAR, drift[0], -side[way], 0), Pose(_NEAR, drift[1], side[way], 0))
        elif move == "pan":
            ends = (Pose(_MIDDLE, -side[way], drift[0], 0), Pose(_MIDDLE, side[way], drift[1], 0))
        elif move == "rotate":
            turn = _TURN_DEG * (-1 if way in ("left", "up") else 1)
            ends = (Pose(_MIDDLE, *drift, -turn), Pose(_NEAR, *drift[::-1], turn))
        else:
            ends = (Pose(_WIDE, 0, 0, 0), Pose(_NEAR, *drift, draw.uniform(-2, 2)))
            away = "out" in words or (not moves and draw.random() < 0.5)
            ends = ends[::-1] if away else ends
        return cls(*ends, draw.choice([_smooth, _smoother, _wave]), draw.random())

    def frame(self, picture: Pixels, time: float, width: int, height: int) -> Pixels:
        """What the camera sees at a share ``time`` of the film, as width x height pixels."""
        way = _CREEP * time + (1 - _CREEP) * self.easing(time)
        pose = self.start.towards(self.end, way)
        seen = cv2.warpAffine(
            picture,
            _placement(pose, picture.shape[1], picture.shape[0], width, height),
            (width, height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        light = 1 + _LIGHT * math.sin(math.tau * (self.dawn + time / 2))
        return np.asarray(cv2.convertScaleAbs(seen, alpha=light), np.uint8)


def _placement(
    pose: Pose, picture_width: int, picture_height: int, width: int, height: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The affine map, 2 x 3, from a frame's pixels to the picture's; it stays inside it."""
    turn = math.radians(pose.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    # A turned frame reaches further than its sides are long.
    reach_x = width * abs(cos) + height * abs(sin)
    reach_y = width * abs(sin) + height * abs(cos)
    scale = pose.share * min(picture_width / reach_x, picture_height / reach_y)
    x = (picture_width + pose.across * (picture_width - scale * reach_x)) / 2
    y = (picture_height + pose.down * (picture_height - scale * reach_y)) / 2
    a, b = scale * cos, scale * sin
    return np.array(
        [
            [a, -b, x - (a * width - b * height) / 2],
            [b, a, y - (b * width + a * height) / 2],
        ]
    )


_MOVES = {
    "zoom": ("zoom", "dolly", "closeup"),
    "pan": ("pan", "slide", "track", "tilt"),
    "rotate": ("rotate", "rotat", "spin", "orbit", "turn"),
}
"""Words by the move that they ask for; the first move of the list that is named is made."""


def _stem(word: str) -> str:
    """A word without its punctuation and the ending of a verb."""
    bare = word.strip(".,;:!()\"'-").removesuffix("s").removesuffix("ing")
    return bare[:-1] if len(bare) > 3 and bare[-1] == bare[-2] and bare[-1] != "o" else bare


def _smooth(time: float) -> float:
    return time * time * (3 - 2 * time)


def _smoother(time: float) -> float:
    return time**3 * (time * (6 * time - 15) + 10)


def _wave(time: float) -> float:
    return (1 - math.cos(math.pi * time)) / 2
