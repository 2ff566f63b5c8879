"""From what is wanted to a scene: colours chosen, things built and placed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from models.parts import meshes
from models.parts.solids.kit import MAIN, SECOND, Shape
from models.parts.solids.things import THINGS, sculpture
from models.parts.solids.words import PALETTE, Finish, Wanted

_GAP = 0.12
"""Metres between things that stand side by side."""
_DRAWN = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white")
_OWN = {"snowman": "red", "apple": "red", "mushroom": "red", "table": "wooden", "chair": "wooden"}
_OWN |= {"tower": "stone", "castle": "stone", "tree": "leaf", "gem": "azure", "ring": "gold"}
_OWN |= {"lighthouse": "red", "sword": "brown"}
"""What a thing is made of where nobody says and the seed need not."""
_FINISH_OF = {"steel": Finish(0.35, 1.0), "gold": Finish(0.3, 1.0), "light": Finish(0.5, 0, 1, 1.0)}
_FINISH_OF |= {"window": Finish(0.1), "rubber": Finish(0.95)}

_BESIDE = {"ring": 0.15, "apple": 0.25, "cup": 0.25, "donut": 0.25, "gem": 0.3, "bottle": 0.35}
_BESIDE |= {"ice cream": 0.35, "ball": 0.5, "cube": 0.7, "vase": 0.5, "mushroom": 0.4}
_BESIDE |= {"flower": 0.6, "lamp": 0.6, "car": 1.5, "tree": 2.0, "pine": 2.0, "rocket": 2.5}
_BESIDE |= {"house": 2.8, "tower": 2.8, "castle": 3.5, "lighthouse": 3.5, "planet": 3.0}
"""How many times its size a thing has where others are to compare it with."""

Key = tuple[str, Finish]


@dataclass(slots=True)
class Plan:
    """One wanted thing: its shapes, and what their colours mean."""

    wanted: Wanted
    shapes: list[Shape]
    colours: dict[str, str]

    def key(self, shape: Shape) -> Key:
        """The colour of one of its shapes, and how it takes the light."""
        name = self.colours.get(shape.colour, shape.colour)
        plain = shape.colour in (MAIN, SECOND) and self.wanted.finish != Finish()
        return name, self.wanted.finish if plain else _FINISH_OF.get(name, Finish())


def planned(things: list[Wanted], rng: np.random.Generator) -> list[Plan]:
    """What is built of each; all that the words leave open is drawn."""
    return [_plan(wanted, rng) for wanted in things]


def built(plans: list[Plan], after_shape: Callable[[], None]) -> trimesh.Scene:
    """The scene of all of them; ``after_shape`` is called after each shape of each plan."""
    parts: dict[Key, list[trimesh.Trimesh]] = {}
    things = []
    for plan in plans:
        made: dict[Key, list[trimesh.Trimesh]] = {}
        for shape in plan.shapes:
            made.setdefault(plan.key(shape), []).append(shape.mesh())
            after_shape()
        size = plan.wanted.size * (_BESIDE.get(plan.wanted.noun, 1.0) if len(plans) > 1 else 1.0)
        wide, high = (size * times for times in plan.wanted.form)
        group = {key: _joined(each) for key, each in made.items()}
        for mesh in group.values():
            mesh.apply_transform(np.diag([wide, high, wide, 1.0]))
        things.append(group)
    for group, offset in _arranged(plans, things):
        for key, mesh in group.items():
            there = mesh.copy()
            there.apply_translation(offset)
            parts.setdefault(key, []).append(there)
    whole = {key: _joined(each) for key, each in parts.items()}
    _stand(list(whole.values()))
    scene: Any = trimesh.Scene()
    textured: Any = trimesh.visual.TextureVisuals
    for (name, finish), mesh in whole.items():
        red, green, blue = (level / 255 for level in bytes.fromhex(PALETTE[name]))
        mesh.visual = textured(
            material=meshes.material(
                (red, green, blue, finish.opacity),
                roughness=finish.roughness,
                metallic=finish.metallic,
                glow=finish.glow,
            )
        )
        scene.add_geometry(mesh, geom_name=f"{name}-{len(scene.geometry)}")
    made_scene: trimesh.Scene = scene
    return made_scene


def _plan(wanted: Wanted, rng: np.random.Generator) -> Plan:
    shapes = THINGS[wanted.noun](rng) if wanted.noun else sculpture(rng)
    drawn = [str(name) for name in rng.permutation(_DRAWN)]
    first = wanted.colours[0] if wanted.colours else _OWN.get(wanted.noun, drawn[0])
    others = [name for name in drawn if name != first]
    second = wanted.colours[1] if len(wanted.colours) > 1 else others[0]
    if wanted.noun == "tree" and wanted.colours:
        return Plan(wanted, shapes, {MAIN: first, SECOND: second, "leaf": first})
    return Plan(wanted, shapes, {MAIN: first, SECOND: second})


def _arranged(
    plans: list[Plan], things: list[dict[Key, trimesh.Trimesh]]
) -> Iterator[tuple[dict[Key, trimesh.Trimesh], NDArray[np.float64]]]:
    """Each copy of each thing, and by how much it is moved: side by side, or one on another."""
    boxes = [_bounds(list(group.values())) for group in things]
    # From the last, on the right, to the first: what stands above another needs that one's place.
    across, under = 0.0, np.zeros(3)
    found = []
    for index in reversed(range(len(plans))):
        low, high = boxes[index]
        width, depth = high[0] - low[0], high[2] - low[2]
        count = plans[index].wanted.count
        columns = math.ceil(math.sqrt(count)) if count > 4 else count
        above = plans[index].wanted.above and index + 1 < len(plans)
        span = columns * (width + _GAP) - _GAP
        start = under[0] - span / 2 if above else across - span
        ground = under[1] if above else 0.0
        for number in range(count):
            column, row = number % columns, number // columns
            x = start + column * (width + _GAP) - low[0]
            found.append((things[index], np.array([x, ground - low[1], -row * (depth + _GAP)])))
        under = np.array([start + span / 2, ground + high[1] - low[1], 0.0])
        if not above:
            across = start - _GAP
    return iter(found)


def _stand(parts: list[trimesh.Trimesh]) -> None:
    """Move all of it onto the ground, in the middle."""
    low, high = _bounds(parts)
    middle = [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]
    for mesh in parts:
        mesh.apply_translation([-each for each in middle])


def _bounds(parts: list[trimesh.Trimesh]) -> NDArray[np.float64]:
    each = np.array([mesh.bounds for mesh in parts])
    return np.array([each[:, 0].min(axis=0), each[:, 1].max(axis=0)])


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    join: Any = trimesh.util.concatenate
    whole: trimesh.Trimesh = join(parts)
    return whole
