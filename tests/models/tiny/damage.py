"""What small networks do to a picture, and what makes a scene another one than was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from models.tiny.evaluate.prompts import Question
from models.tiny.scenes.draw import Pixels
from models.tiny.scenes.plan import (
    COLOURS,
    Backing,
    Place,
    Product,
    Relation,
    Scene,
    Shape,
    Thing,
)

Random = np.random.Generator


def decoded(picture: Pixels, rng: Random) -> Pixels:
    """As a small autoencoder gives it back: a quarter of the size and up again, blurred, with
    wobbly edges and noise."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 0.7 * min(small.shape[:2]) / 128)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 2)).astype(np.float32), (0, 0), 12)
    shifts = noise / noise.std() * 0.004 * min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bent = cv2.remap(
        large, x + shifts[..., 0], y + shifts[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT
    )
    return np.clip(bent + rng.normal(0, 5, bent.shape), 0, 255).astype(np.uint8)


def blob(rng: Random) -> Pixels:
    """Something round, rough and of no shape, blue on yellow, 512 pixels a side."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    waves = [
        rng.normal(0, 0.3 / np.sqrt(n)) * np.cos(n * angles + rng.uniform(0, 6.3))
        for n in range(2, 8)
    ]
    radii = np.clip(1 + np.sum(waves, axis=0), 0.2, 2)
    radii *= rng.uniform(80, 140) / radii.max()
    points = 256 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    picture = np.full((512, 512, 3), COLOURS["yellow"], np.uint8)
    cv2.fillPoly(picture, [points.astype(np.int32)], COLOURS["blue"])
    return picture


def mistakes(question: Question, rng: Random) -> Iterator[tuple[str, Scene]]:
    """Scenes that are wrong answers, and what is wrong with each."""
    for name, spoil in _MISTAKES.items():
        scene = spoil(question.scene, rng)
        if scene is not None:
            yield name, scene


def _with(scene: Scene, number: int, **changes: object) -> Scene:
    things = list(scene.things)
    things[number] = dataclasses.replace(things[number], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(scene, things=tuple(things))


def _any(scene: Scene, rng: Random) -> int:
    return int(rng.integers(len(scene.things)))


def _other_shape(scene: Scene, rng: Random) -> Scene | None:
    number = _any(scene, rng)
    if isinstance(scene.things[number].shape, Product):
        return None
    others = [shape for shape in Shape if shape is not scene.things[number].shape]
    return _with(scene, number, shape=others[rng.integers(len(others))])


def _other_colour(scene: Scene, rng: Random) -> Scene:
    number = _any(scene, rng)
    taken = {scene.things[number].colour, *scene.background.colours}
    others = [name for name in COLOURS if name not in taken]
    return _with(scene, number, colour=others[rng.integers(len(others))])


def _other_background(scene: Scene, rng: Random) -> Scene:
    taken = {*scene.background.colours, *(thing.colour for thing in scene.things)}
    others = [name for name in COLOURS if name not in taken]
    colours = list(scene.background.colours)
    colours[rng.integers(len(colours))] = others[rng.integers(len(others))]
    background = dataclasses.replace(scene.background, colours=tuple(colours))
    return dataclasses.replace(scene, background=background)


def _erased(scene: Scene, rng: Random) -> Scene:
    number = _any(scene, rng)
    kept = tuple(thing for n, thing in enumerate(scene.things) if n != number)
    return dataclasses.replace(scene, things=kept)


def _one_more(scene: Scene, rng: Random) -> Scene | None:
    corners = [(x, y) for x in (0.1, 0.9) for y in (0.1, 0.9)]
    free = [
        (x, y)
        for x, y in corners
        if all(abs(x - t.x) + abs(y - t.y) > 0.1 + 1.6 * t.radius for t in scene.things)
    ]
    if not free or scene.background.kind is Backing.TABLE:
        return None
    x, y = free[rng.integers(len(free))]
    more = Thing(Shape.CIRCLE, scene.things[0].colour, x, y, 0.05)
    return dataclasses.replace(scene, things=(*scene.things, more))


def _colours_swapped(scene: Scene, rng: Random) -> Scene | None:
    if len(scene.things) < 2:
        return None
    first, second, *_ = scene.things
    if first.colour == second.colour or first.shape == second.shape:
        return None
    return _with(_with(scene, 0, colour=second.colour), 1, colour=first.colour)


def _places_swapped(scene: Scene, rng: Random) -> Scene | None:
    if len(scene.things) < 2 or scene.relation is Relation.LOOSE:
        return None
    first, second, *_ = scene.things
    if (first.shape, first.colour) == (second.shape, second.colour):
        return None
    return _with(_with(scene, 0, x=second.x, y=second.y), 1, x=first.x, y=first.y)


def _elsewhere(scene: Scene, rng: Random) -> Scene | None:
    if scene.place in (Place.ANYWHERE, Place.MIDDLE):
        return None
    thing = scene.things[0]
    return _with(scene, 0, x=1 - thing.x, y=1 - thing.y)


_MISTAKES: dict[str, Callable[[Scene, Random], Scene | None]] = {
    "another shape": _other_shape,
    "another colour": _other_colour,
    "another background": _other_background,
    "one is missing": _erased,
    "one too many": _one_more,
    "colours swapped": _colours_swapped,
    "places swapped": _places_swapped,
    "elsewhere": _elsewhere,
}
