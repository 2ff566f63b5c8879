"""The reader against pictures whose scenes are known, drawn, and spoilt as networks do."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from models.tiny.evaluate import colours
from models.tiny.evaluate.reader import Reading, read
from models.tiny.scenes import sampling
from models.tiny.scenes.draw import Pixels, draw
from models.tiny.scenes.plan import (
    COLOURS,
    Background,
    Backing,
    Scene,
    Shape,
    Thing,
)
from tests.models.tiny import damage

YELLOW = Background(Backing.PLAIN, ("yellow",))
SIZES = [(512, 512), (1024, 1024), (256, 256), (640, 384), (320, 576)]

Look = Callable[[Pixels, np.random.Generator], Pixels]


def as_it_is(picture: Pixels, rng: np.random.Generator) -> Pixels:
    return picture


def differences(scene: Scene, seen: Reading) -> list[str]:
    """What a reading says otherwise than the scene."""
    found = []
    if (seen.kind, seen.background) != (scene.background.kind, scene.background.colours):
        found.append(f"{seen.kind} {seen.background}")
    things = sorted(scene.things, key=lambda thing: (thing.x, thing.y))
    if len(things) != len(seen.things):
        return [*found, f"{len(seen.things)} things"]
    left = list(seen.things)
    for thing in things:
        near = min(left, key=lambda each: abs(each.x - thing.x) + abs(each.y - thing.y))
        left.remove(near)
        if (near.shape, near.colour) != (thing.shape, thing.colour):
            found.append(f"{near.colour} {near.shape}")
        if abs(near.x - thing.x) + abs(near.y - thing.y) > 0.03:
            found.append(f"at {near.x:.2f}, {near.y:.2f}")
        if not 0.88 < near.radius / thing.radius < 1.12:
            found.append(f"radius {near.radius:.3f}")
    return found


def touching(scene: Scene) -> bool:
    """Whether two stripes of one colour may be one; nobody could tell them apart."""
    stripes = Counter(t.colour for t in scene.things if t.shape is Shape.STRIPE)
    return bool(stripes) and max(stripes.values()) > 1


def single(shape: Shape, colour: str = "blue", background: Background = YELLOW) -> Scene:
    return Scene(background, (Thing(shape, colour, 0.5, 0.5, 0.2),))


@pytest.mark.parametrize("look", [as_it_is, damage.decoded], ids=["drawn", "decoded"])
def test_flat_scenes_are_read_as_they_are(look: Look) -> None:
    rng = np.random.default_rng(0)
    asked, wrong = 0, []
    while asked < 100:
        width, height = SIZES[asked % len(SIZES)]
        scene = sampling.sample(rng, aspect=width / height)
        if scene.background.kind is Backing.TABLE or touching(scene):
            continue
        asked += 1
        found = differences(scene, read(look(draw(scene, width, height, rng), rng)))
        wrong += [(scene.key, (width, height), found)] if found else []
    assert len(wrong) <= 0.01 * asked, wrong


@pytest.mark.parametrize("look", [as_it_is, damage.decoded], ids=["drawn", "decoded"])
def test_photographs_are_read_for_their_colours(look: Look) -> None:
    rng = np.random.default_rng(1)
    wrong = []
    for _ in range(50):
        scene = sampling.photograph(rng)
        seen = read(look(draw(scene, 512, 512, rng), rng))
        colours_seen = [each.colour for each in seen.things]
        same = seen.background == scene.background.colours
        if not same or colours_seen != [thing.colour for thing in scene.things]:
            wrong.append((scene.key, seen))
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_keeps_its_name_in_other_light(name: str) -> None:
    rng = np.random.default_rng(2)
    tints = np.array(COLOURS[name]) + rng.normal(0, 5, (300, 3))
    tints = np.clip(tints * rng.normal(1, 0.05, (300, 1)), 0, 255).astype(np.float32)
    named = Counter(colours.name(tint) for tint in colours.lab(tints))
    assert named[name] >= 297, named


def test_a_colour_that_is_none_of_them_has_no_name() -> None:
    acid = np.array([[170, 255, 0]], np.float32)
    assert colours.name(colours.lab(acid)[0]) == colours.UNNAMED


@pytest.mark.parametrize("kind", [Backing.GRADIENT, Backing.TWO_TONE])
@pytest.mark.parametrize("upright", [True, False])
def test_the_upper_or_left_colour_comes_first(kind: Backing, upright: bool) -> None:
    rng = np.random.default_rng(3)
    for pair in (("red", "white"), ("white", "red"), ("black", "blue")):
        ground = Background(kind, pair, upright=upright)
        seen = read(draw(single(Shape.STAR, "green", ground), 384, 512, rng))
        assert (seen.kind, seen.background, seen.upright) == (kind, pair, upright)
        assert [each.shape for each in seen.things] == [Shape.STAR]


def test_an_empty_background_has_nothing_on_it() -> None:
    picture = draw(Scene(YELLOW), 512, 512, np.random.default_rng(4))
    assert read(picture) == Reading(("yellow",), Backing.PLAIN, ())


def test_a_blob_has_no_shape() -> None:
    rng = np.random.default_rng(5)
    shapes = Counter(each.shape for _ in range(100) for each in read(damage.blob(rng)).things)
    assert shapes[None] >= 98, shapes


@pytest.mark.parametrize("corners", [5, 6])
def test_what_has_corners_is_no_circle(corners: int) -> None:
    angles = np.arange(corners) * 2 * np.pi / corners
    points = 256 + 100 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    picture = np.full((512, 512, 3), COLOURS["yellow"], np.uint8)
    cv2.fillPoly(picture, [points.astype(np.int32)], COLOURS["blue"])
    assert [each.shape for each in read(picture).things] == [None]


@pytest.mark.parametrize("ratio", [1.3, 1.6])
def test_what_is_too_long_is_neither_square_nor_circle(ratio: float) -> None:
    for draw_it in (cv2.rectangle, _ellipse):
        picture = np.full((512, 512, 3), COLOURS["white"], np.uint8)
        half = round(60 * ratio)
        draw_it(picture, (256 - half, 196), (256 + half, 316), COLOURS["red"], -1)
        assert [each.shape for each in read(picture).things] == [None]


def _ellipse(
    picture: Pixels,
    first: tuple[int, int],
    last: tuple[int, int],
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    axes = ((last[0] - first[0]) // 2, (last[1] - first[1]) // 2)
    cv2.ellipse(picture, (256, 256), axes, 0, 0, 360, colour, thickness)


def test_a_small_spot_is_a_thing_and_a_speck_is_none() -> None:
    picture = draw(single(Shape.HEART), 512, 512, np.random.default_rng(6))
    spotted, specked = picture.copy(), picture.copy()
    cv2.circle(spotted, (60, 60), 20, COLOURS["red"], -1)
    cv2.circle(specked, (60, 60), 4, COLOURS["red"], -1)
    assert [each.colour for each in read(spotted).things] == ["red", "blue"]
    assert [each.colour for each in read(specked).things] == ["blue"]


def test_a_thing_of_two_colours_is_two_things() -> None:
    picture = draw(single(Shape.CIRCLE), 512, 512, np.random.default_rng(7))
    picture[256:][np.abs(picture[256:] - np.array(COLOURS["yellow"])).sum(axis=2) > 200] = (
        230,
        40,
        40,
    )
    assert sorted(each.colour for each in read(picture).things) == ["blue", "red"]


def test_things_that_touch_are_told_apart_by_colour() -> None:
    things = (
        Thing(Shape.SQUARE, "blue", 0.4, 0.5, 0.122),
        Thing(Shape.SQUARE, "red", 0.6, 0.5, 0.122),
    )
    seen = read(draw(Scene(YELLOW, things), 512, 512, np.random.default_rng(8)))
    named = [(each.shape, each.colour) for each in seen.things]
    assert named == [(Shape.SQUARE, "blue"), (Shape.SQUARE, "red")]


@pytest.mark.parametrize("shape", Shape)
def test_a_shape_upside_down_is_itself_only_where_it_looks_so(shape: Shape) -> None:
    scene = single(shape)
    turned = dataclasses.replace(scene.things[0], turn=180.0)
    picture = draw(dataclasses.replace(scene, things=(turned,)), 512, 512, np.random.default_rng(9))
    expected = None if shape in (Shape.TRIANGLE, Shape.STAR, Shape.HEART) else shape
    assert [each.shape for each in read(picture).things] == [expected]


@pytest.mark.parametrize("form", [(512, 512), (512, 512, 4), (16, 512, 3)], ids=str)
def test_what_is_no_picture_is_refused(form: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read(np.zeros(form, np.uint8))


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, models.tiny.evaluate.reader, models.tiny.evaluate.prompts\n"
        "import models.tiny.evaluate.scoring, models.tiny.evaluate.__main__\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
