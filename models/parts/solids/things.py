"""What the nouns mean: each a few shapes, about a metre large, standing on the ground."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from models.parts.solids.kit import MAIN, SECOND, Shape, ball, box, cone, cylinder, ring, turned

Builder = Callable[[np.random.Generator], list[Shape]]


def _ball(_: np.random.Generator) -> list[Shape]:
    return [ball(0.5, (0, 0.5, 0))]


def _planet(rng: np.random.Generator) -> list[Shape]:
    tilt = float(rng.uniform(12, 28))
    band = turned(
        ((0.62, -0.012), (0.95, -0.012), (0.95, 0.012), (0.62, 0.012), (0.62, -0.012)),
        (0, 0.5, 0),
        SECOND,
        (tilt, 0, tilt / 2),
    )
    return [ball(0.5, (0, 0.5, 0)), band]


def _cube(_: np.random.Generator) -> list[Shape]:
    return [box((1, 1, 1), (0, 0, 0))]


def _pyramid(_: np.random.Generator) -> list[Shape]:
    return [cone(0.7, 0.9, (0, 0, 0), turn=(0, 45, 0), sides=4)]


def _cylinder(_: np.random.Generator) -> list[Shape]:
    return [cylinder(0.4, 1, (0, 0, 0))]


def _cone(_: np.random.Generator) -> list[Shape]:
    return [cone(0.5, 1, (0, 0, 0))]


def _torus(_: np.random.Generator) -> list[Shape]:
    return [ring(0.4, 0.16, (0, 0.16, 0))]


def _ring(_: np.random.Generator) -> list[Shape]:
    gem = turned(((0, 0), (0.16, 0.14), (0.1, 0.22), (0, 0.22)), (0, 0.9, 0), SECOND, sides=8)
    return [ring(0.4, 0.06, (0, 0.46, 0), turn=(90, 0, 0)), gem]


def _donut(rng: np.random.Generator) -> list[Shape]:
    icing = Shape("ring", ((0.4, 0.165),), MAIN, (0, 0.2, 0), stretch=(1.0, 0.85, 1.0))
    shapes = [ring(0.4, 0.17, (0, 0.17, 0), "dough"), icing]
    for name in ("yellow", "white", "blue", "red") * 4:
        angle, out = float(rng.uniform(0, math.tau)), float(rng.uniform(0.34, 0.46))
        at = (out * math.cos(angle), 0.325, out * math.sin(angle))
        shapes.append(box((0.07, 0.02, 0.02), at, name, (0, float(rng.uniform(0, 180)), 0)))
    return shapes


def _house(_: np.random.Generator) -> list[Shape]:
    shapes = [
        box((1.2, 0.8, 1.0), (0, 0, 0)),
        # A roof is a cone of four sides, cut off nowhere.
        cone(1.0, 0.6, (0, 0.8, 0), SECOND, (0, 45, 0), 4),
        box((0.14, 0.45, 0.14), (0.32, 0.95, -0.15), "brick"),
        box((0.26, 0.5, 0.04), (0, 0, 0.5), "wood"),
        ball(0.02, (0.08, 0.24, 0.53), "gold"),
    ]
    for x in (-0.38, 0.38):
        shapes.append(box((0.24, 0.24, 0.04), (x, 0.32, 0.5), "window"))
    return shapes


def _tower(_: np.random.Generator) -> list[Shape]:
    body = ((0, 0), (0.42, 0), (0.34, 1.3), (0.46, 1.42), (0.46, 1.55), (0, 1.55))
    shapes = [turned(body), box((0.22, 0.4, 0.06), (0, 0, 0.38), "wood")]
    for number in range(8):
        angle = math.tau * number / 8
        at = (0.39 * math.cos(angle), 1.55, 0.39 * math.sin(angle))
        shapes.append(box((0.13, 0.16, 0.13), at, MAIN, (0, -math.degrees(angle), 0)))
    shapes.append(box((0.1, 0.22, 0.06), (0, 0.85, 0.34), "dark"))
    return shapes


def _castle(rng: np.random.Generator) -> list[Shape]:
    shapes = [box((1.6, 0.7, 1.2), (0, 0, 0)), box((0.7, 1.15, 0.6), (0, 0, 0))]
    for x in (-0.8, 0.8):
        for z in (-0.6, 0.6):
            shapes.append(cylinder(0.22, 1.1, (x, 0, z)))
            shapes.append(cone(0.28, 0.5, (x, 1.1, z), SECOND))
    shapes += [
        box((0.34, 0.46, 0.05), (0, 0, 0.6), "wood"),
        cylinder(0.02, 0.5, (0, 1.15, 0), "steel"),
        box((0.3, 0.16, 0.01), (0.16, 1.48, 0), SECOND),
    ]
    for x in np.linspace(-0.5, 0.5, 5):
        shapes.append(box((0.12, 0.12, 0.12), (float(x), 0.7, 0.54)))
    return shapes


def _lighthouse(_: np.random.Generator) -> list[Shape]:
    shapes = [cylinder(0.6, 0.12, (0, 0, 0), "stone")]
    for number in range(5):
        low, high = 0.36 - 0.03 * number, 0.33 - 0.03 * number
        profile = ((0.0, 0.0), (low, 0.0), (high, 0.3), (0.0, 0.3))
        at = (0.0, 0.12 + 0.3 * number, 0.0)
        shapes.append(turned(profile, at, MAIN if number % 2 == 0 else "white"))
    return [
        *shapes,
        cylinder(0.32, 0.05, (0, 1.62, 0), "dark"),
        cylinder(0.16, 0.24, (0, 1.67, 0), "light"),
        cone(0.24, 0.22, (0, 1.91, 0), MAIN),
    ]


def _cup(_: np.random.Generator) -> list[Shape]:
    wall = ((0, 0), (0.3, 0), (0.34, 0.7), (0.3, 0.7), (0.26, 0.05), (0, 0.05))
    return [
        turned(wall),
        ring(0.2, 0.045, (0.36, 0.37, 0), turn=(90, 0, 0)),
        cylinder(0.285, 0.02, (0, 0.55, 0), "coffee"),
    ]


def _bottle(_: np.random.Generator) -> list[Shape]:
    body = ((0, 0), (0.22, 0), (0.24, 0.04), (0.24, 0.6), (0.2, 0.72), (0.08, 0.86), (0.08, 1.05))
    return [turned((*body, (0, 1.05))), cylinder(0.09, 0.1, (0, 1.05, 0), SECOND)]


def _vase(rng: np.random.Generator) -> list[Shape]:
    heights = np.linspace(0, 1, 9)
    radii = 0.26 + 0.12 * np.sin(heights * rng.uniform(4, 7) + rng.uniform(0, 3))
    outside = tuple((float(r), float(h)) for r, h in zip(radii, heights, strict=True))
    inside = tuple((r - 0.035, max(h, 0.04)) for r, h in reversed(outside))
    return [turned(((0, 0), *outside, *inside, (0, 0.04)))]


def _tree(rng: np.random.Generator) -> list[Shape]:
    shapes = [turned(((0, 0), (0.12, 0), (0.08, 0.7), (0, 0.7)), colour="wood")]
    for _ in range(6):
        x, y, z = rng.uniform(-0.26, 0.26), rng.uniform(0.85, 1.25), rng.uniform(-0.26, 0.26)
        shapes.append(ball(float(rng.uniform(0.26, 0.36)), (float(x), float(y), float(z)), "leaf"))
    return shapes


def _pine(_: np.random.Generator) -> list[Shape]:
    tiers = [cone(0.55 - 0.13 * n, 0.55, (0, 0.25 + 0.3 * n, 0), "pine") for n in range(4)]
    return [cylinder(0.1, 0.3, (0, 0, 0), "wood"), *tiers]


def _table(_: np.random.Generator) -> list[Shape]:
    legs = [box((0.08, 0.7, 0.08), (x, 0, z), SECOND) for x in (-0.62, 0.62) for z in (-0.36, 0.36)]
    return [*legs, box((1.4, 0.07, 0.9), (0, 0.7, 0))]


def _chair(_: np.random.Generator) -> list[Shape]:
    legs = [box((0.06, 0.45, 0.06), (x, 0, z)) for x in (-0.22, 0.22) for z in (-0.22, 0.22)]
    posts = [box((0.06, 0.55, 0.06), (x, 0.51, -0.22)) for x in (-0.22, 0.22)]
    slats = [box((0.44, 0.1, 0.03), (0, 0.6 + 0.17 * n, -0.22)) for n in range(3)]
    return [*legs, box((0.52, 0.06, 0.52), (0, 0.45, 0)), *posts, *slats]


def _snowman(_: np.random.Generator) -> list[Shape]:
    shapes = [ball(0.4, (0, 0.38, 0), "snow"), ball(0.29, (0, 0.92, 0), "snow")]
    shapes += [
        ball(0.21, (0, 1.32, 0), "snow"),
        cone(0.045, 0.26, (0, 1.32, 0.19), "orange", (90, 0, 0)),
    ]
    shapes += [ball(0.028, (x, 1.39, 0.19), "dark") for x in (-0.08, 0.08)]
    shapes += [
        ball(0.03, (0, y, z), "dark") for y, z in ((0.82, 0.275), (0.94, 0.29), (1.06, 0.26))
    ]
    shapes += [
        ring(0.2, 0.05, (0, 1.16, 0), MAIN),
        box((0.1, 0.34, 0.04), (0.12, 0.86, 0.24), MAIN),
    ]
    shapes += [
        cylinder(0.27, 0.03, (0, 1.47, 0), "dark"),
        cylinder(0.17, 0.26, (0, 1.5, 0), "dark"),
    ]
    arms = [(-0.2, 60), (0.2, -60)]
    shapes += [cylinder(0.02, 0.5, (x, 0.98, 0), "wood", (0, 0, turn)) for x, turn in arms]
    return shapes


def _car(_: np.random.Generator) -> list[Shape]:
    shapes = [
        box((1.9, 0.32, 0.86), (0, 0.22, 0)),
        box((1.0, 0.3, 0.76), (-0.1, 0.54, 0), "window"),
        box((0.9, 0.05, 0.74), (-0.1, 0.84, 0)),
        box((0.08, 0.1, 0.8), (0.94, 0.24, 0), "dark"),
    ]
    for x in (-0.58, 0.58):
        for z, side in ((-0.43, -1), (0.43, 1)):
            shapes.append(cylinder(0.22, 0.16, (x, 0.22, z - 0.08), "rubber", (90, 0, 0)))
            shapes.append(cylinder(0.1, 0.02, (x, 0.22, z + side * 0.08), "steel", (90, 0, 0)))
    shapes += [ball(0.07, (0.94, 0.42, z), "light", (0.5, 1, 1)) for z in (-0.3, 0.3)]
    return shapes


def _rocket(_: np.random.Generator) -> list[Shape]:
    body = ((0, 0), (0.2, 0), (0.27, 0.3), (0.28, 0.7), (0.22, 1.1), (0, 1.1))
    nose = ((0, 0), (0.22, 0), (0.15, 0.25), (0.06, 0.42), (0, 0.46))
    shapes = [turned(body, (0, 0.2, 0)), turned(nose, (0, 1.3, 0), SECOND)]
    for turn in (0, 120, 240):
        angle = math.radians(turn)
        at = (0.3 * math.cos(angle), 0.0, -0.3 * math.sin(angle))
        shapes.append(box((0.3, 0.45, 0.04), at, SECOND, (0, turn, 0)))
    window = ball(0.1, (0, 1.0, 0.24), "window", (1, 1, 0.4))
    flame = turned(((0, 0), (0.14, 0.16), (0, 0.2)), (0, 0.0, 0), "orange")
    return [*shapes, window, ring(0.1, 0.02, (0, 1.0, 0.245), "steel", (90, 0, 0)), flame]


def _lamp(_: np.random.Generator) -> list[Shape]:
    shade = ((0.4, 0), (0.22, 0.4), (0.2, 0.4), (0.38, 0), (0.4, 0))
    return [
        cylinder(0.26, 0.05, (0, 0, 0), SECOND),
        cylinder(0.03, 0.75, (0, 0.05, 0), SECOND),
        turned(shade, (0, 0.72, 0)),
        ball(0.1, (0, 0.86, 0), "light"),
    ]


def _mushroom(_: np.random.Generator) -> list[Shape]:
    stem = ((0, 0), (0.16, 0), (0.12, 0.4), (0.14, 0.55), (0, 0.55))
    cap = ((0, 0), (0.45, 0), (0.42, 0.14), (0.3, 0.28), (0.14, 0.36), (0, 0.38))
    spots = [(0.0, 0.88, 0.0), (0.28, 0.78, 0.1), (-0.2, 0.8, 0.2), (-0.15, 0.8, -0.26)]
    dots = [ball(0.07, at, "white", (1, 0.6, 1)) for at in spots]
    return [turned(stem, colour="snow"), turned(cap, (0, 0.5, 0)), *dots]


def _flower(_: np.random.Generator) -> list[Shape]:
    shapes = [cylinder(0.025, 0.8, (0, 0, 0), "leaf"), ball(0.1, (0, 0.85, 0.03), "yellow")]
    for number in range(7):
        angle = math.tau * number / 7
        at = (0.19 * math.cos(angle), 0.85 + 0.19 * math.sin(angle), 0.0)
        shapes.append(ball(0.1, at, MAIN, (1, 1, 0.45)))
    shapes += [ball(0.14, (x, 0.3, 0), "leaf", (1, 0.35, 0.5)) for x in (-0.13, 0.13)]
    return shapes


def _robot(_: np.random.Generator) -> list[Shape]:
    shapes = [box((0.5, 0.55, 0.34), (0, 0.45, 0)), box((0.36, 0.3, 0.3), (0, 1.06, 0))]
    shapes += [
        cylinder(0.07, 0.08, (0, 0.99, 0), "steel"),
        cylinder(0.015, 0.18, (0, 1.36, 0), "steel"),
    ]
    shapes += [ball(0.04, (0, 1.55, 0), SECOND), box((0.2, 0.03, 0.02), (0, 1.12, 0.155), "dark")]
    shapes += [ball(0.05, (x, 1.25, 0.15), "light") for x in (-0.09, 0.09)]
    for x in (-1, 1):
        shapes.append(box((0.15, 0.42, 0.2), (0.13 * x, 0.05, 0), SECOND))
        shapes.append(box((0.2, 0.06, 0.3), (0.13 * x, 0, 0.04)))
        shapes.append(cylinder(0.06, 0.42, (0.33 * x, 0.52, 0), SECOND))
        shapes.append(ball(0.08, (0.33 * x, 0.5, 0)))
    return [*shapes, box((0.24, 0.2, 0.02), (0, 0.66, 0.17), SECOND)]


def _icecream(_: np.random.Generator) -> list[Shape]:
    waffle = turned(((0, 0), (0.22, 0.7), (0, 0.7)), colour="dough")
    return [
        waffle,
        ball(0.24, (0, 0.8, 0)),
        ball(0.19, (0, 1.08, 0), SECOND),
        ball(0.06, (0, 1.29, 0), "red"),
    ]


def _apple(_: np.random.Generator) -> list[Shape]:
    body = ((0, 0.06), (0.14, 0), (0.36, 0.2), (0.42, 0.45), (0.34, 0.68), (0.16, 0.74), (0, 0.66))
    stalk = cylinder(0.025, 0.22, (0, 0.64, 0), "wood", (0, 0, -12))
    return [turned(body), stalk, ball(0.12, (0.12, 0.84, 0), "leaf", (1, 0.25, 0.5))]


def _gem(_: np.random.Generator) -> list[Shape]:
    return [turned(((0, 0), (0.5, 0.55), (0.32, 0.78), (0, 0.78)), sides=8)]


def _sword(_: np.random.Generator) -> list[Shape]:
    blade = Shape(
        "turned",
        ((0, 0), (0.09, 0), (0.08, 1.0), (0, 1.2)),
        "steel",
        (0, 0.42, 0),
        stretch=(1, 1, 0.25),
        sides=4,
    )
    return [
        ball(0.06, (0, 0.06, 0), SECOND),
        cylinder(0.035, 0.3, (0, 0.08, 0)),
        box((0.44, 0.06, 0.08), (0, 0.37, 0), SECOND),
        blade,
    ]


THINGS: Mapping[str, Builder] = {
    "ball": _ball, "planet": _planet, "cube": _cube, "pyramid": _pyramid, "cylinder": _cylinder,
    "cone": _cone, "torus": _torus, "ring": _ring, "donut": _donut, "house": _house,
    "tower": _tower, "castle": _castle, "lighthouse": _lighthouse, "cup": _cup,
    "bottle": _bottle, "vase": _vase, "tree": _tree, "pine": _pine, "table": _table,
    "chair": _chair, "snowman": _snowman, "car": _car, "rocket": _rocket, "lamp": _lamp,
    "mushroom": _mushroom, "flower": _flower, "robot": _robot, "ice cream": _icecream,
    "apple": _apple, "gem": _gem, "sword": _sword,
}  # fmt: skip


def sculpture(rng: np.random.Generator) -> list[Shape]:
    """For words that name nothing that is known: some simple shapes, one upon another."""
    shapes, top = [], 0.0
    for number in range(int(rng.integers(3, 6))):
        colour = MAIN if number % 2 == 0 else SECOND
        wide = float(rng.uniform(0.5, 0.9)) * 0.85**number
        kind = int(rng.integers(5))
        if kind == 0:
            shapes.append(ball(wide / 2, (0, top + wide / 2, 0), colour))
            top += 0.96 * wide
        elif kind == 1:
            turn = float(rng.uniform(0, 90))
            shapes.append(box((wide, 0.6 * wide, wide), (0, top, 0), colour, (0, turn, 0)))
            top += 0.6 * wide
        elif kind == 2:
            sides = int(rng.choice([5, 6, 8, 40]))
            shapes.append(cylinder(wide / 2, 0.5 * wide, (0, top, 0), colour, sides=sides))
            top += 0.5 * wide
        elif kind == 3:
            shapes.append(ring(0.35 * wide, 0.15 * wide, (0, top + 0.14 * wide, 0), colour))
            top += 0.28 * wide
        else:
            profile = ((0, 0), (wide / 2, 0), (0.3 * wide, 0.6 * wide), (0, 0.6 * wide))
            shapes.append(turned(profile, (0, top, 0), colour))
            top += 0.6 * wide
    return shapes
