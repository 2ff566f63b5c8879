"""Simple shapes, placed and coloured: what things are put together from.

Metres, +Y up. A shape is only described; :meth:`Shape.mesh` makes it, so that whoever builds can
stop between any two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh

MAIN, SECOND = "main", "second"
"""Colours that the words decide, or the seed; any other is a name of words.PALETTE."""

_AROUND = 40
"""Corners of what is round."""
_SHARP_DEG = 35.0
"""Edges between faces that differ by more stay edges; others are shaded as curves."""

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """One convex or turned shape.

    ``profile`` of a "turned" one is (radius, height) from bottom to top; of a "box" its half
    sizes' (x, y), with ``depth`` its half z; of a "ring" the radii of the ring and of its tube.
    It is stretched by ``stretch``, then turned by ``turn`` (degrees about X, then Y, then Z),
    then moved ``at``.
    """

    kind: str
    profile: tuple[tuple[float, float], ...]
    colour: str = MAIN
    at: Vector = (0.0, 0.0, 0.0)
    turn: Vector = (0.0, 0.0, 0.0)
    stretch: Vector = (1.0, 1.0, 1.0)
    depth: float = 0.0
    sides: int = _AROUND

    def mesh(self) -> trimesh.Trimesh:
        """The shape where it belongs, its faces outwards, its sharp edges sharp."""
        transformations: Any = trimesh.transformations
        made: Any = self._raw()
        made.apply_transform(np.diag([*self.stretch, 1.0]))
        x, y, z = (math.radians(angle) for angle in self.turn)
        made.apply_transform(transformations.euler_matrix(x, y, z, "sxyz"))
        made.apply_translation(self.at)
        smooth: trimesh.Trimesh = trimesh.graph.smooth_shade(made, math.radians(_SHARP_DEG))
        return smooth

    def _raw(self) -> Any:
        if self.kind == "ball":
            return trimesh.creation.icosphere(subdivisions=3, radius=self.profile[0][0])
        if self.kind == "box":
            (x, y), z = self.profile[0], self.depth
            return trimesh.creation.box(extents=(2 * x, 2 * y, 2 * z))
        if self.kind == "ring":
            major, minor = self.profile[0]
            made: Any = trimesh.creation.torus(major, minor, _AROUND, _AROUND // 2)
        else:
            made = trimesh.creation.revolve(np.array(self.profile), sections=self.sides)
            made.merge_vertices()
            if made.volume < 0:
                made.invert()
        # trimesh turns about Z.
        upright: Any = trimesh.transformations
        made.apply_transform(upright.rotation_matrix(-math.pi / 2, (1, 0, 0)))
        return made


def ball(radius: float, at: Vector, colour: str = MAIN, stretch: Vector = (1, 1, 1)) -> Shape:
    """A ball around ``at``."""
    return Shape("ball", ((radius, 0),), colour, at, stretch=stretch)


def box(size: Vector, at: Vector, colour: str = MAIN, turn: Vector = (0, 0, 0)) -> Shape:
    """A box of these sizes that stands on ``at``, turned about its middle."""
    x, y, z = (side / 2 for side in size)
    return Shape("box", ((x, y),), colour, (at[0], at[1] + y, at[2]), turn, depth=z)


def turned(
    profile: tuple[tuple[float, float], ...],
    at: Vector = (0, 0, 0),
    colour: str = MAIN,
    turn: Vector = (0, 0, 0),
    sides: int = _AROUND,
) -> Shape:
    """What a lathe makes of (radius, height) pairs, or of few ``sides`` a prism; closed where
    the first and the last radius are 0."""
    return Shape("turned", profile, colour, at, turn, sides=sides)


def cylinder(
    radius: float,
    height: float,
    at: Vector,
    colour: str = MAIN,
    turn: Vector = (0, 0, 0),
    sides: int = _AROUND,
) -> Shape:
    """A cylinder that stands on ``at``, turned about its foot."""
    return turned(((0, 0), (radius, 0), (radius, height), (0, height)), at, colour, turn, sides)


def cone(
    radius: float,
    height: float,
    at: Vector,
    colour: str = MAIN,
    turn: Vector = (0, 0, 0),
    sides: int = _AROUND,
) -> Shape:
    """A cone that stands on ``at``, turned about the middle of its foot."""
    return turned(((0, 0), (radius, 0), (0, height)), at, colour, turn, sides)


def ring(
    radius: float, tube: float, at: Vector, colour: str = MAIN, turn: Vector = (0, 0, 0)
) -> Shape:
    """A ring that lies around ``at``."""
    return Shape("ring", ((radius, tube),), colour, at, turn)
