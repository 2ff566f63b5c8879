"""What the tiny checkpoints are taught: scenes, their pictures, and their captions."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from models.tiny.evaluate import colours
from models.tiny.evaluate.prompts import tells_all
from models.tiny.scenes import captions, sampling
from models.tiny.scenes.draw import draw
from models.tiny.scenes.plan import (
    COLOURS,
    Background,
    Backing,
    Place,
    Product,
    Relation,
    Scene,
    Shape,
    Size,
    Thing,
)
from models.tiny.scenes.shapes import outlines

ASPECTS = [1.0, 16 / 9, 9 / 16]


def scenes(count: int, *, aspect: float = 1.0, unseen: bool = False) -> list[Scene]:
    rng = np.random.default_rng(count)
    return [sampling.sample(rng, aspect=aspect, unseen=unseen) for _ in range(count)]


def test_training_never_shows_what_is_held_out() -> None:
    assert not any(sampling.held_out(scene) for scene in scenes(300))
    assert all(sampling.held_out(scene) for scene in scenes(100, unseen=True))


def test_a_tenth_of_the_combinations_is_held_out() -> None:
    names = itertools.product(Shape, COLOURS, COLOURS)
    combinations = [
        Scene(Background(Backing.PLAIN, (behind,)), (Thing(shape, colour, 0.5, 0.5, 0.2),))
        for shape, colour, behind in names
        if colour != behind
    ]
    share = np.mean([sampling.held_out(scene) for scene in combinations])
    assert 0.07 < share < 0.13


def test_a_combination_is_the_same_however_it_is_laid_out() -> None:
    for scene in scenes(100):
        moved = tuple(dataclasses.replace(thing, x=0.4, turn=3.0) for thing in scene.things)
        turned = dataclasses.replace(scene, things=moved[::-1], relation=Relation.LOOSE)
        assert turned.key == scene.key


@pytest.mark.parametrize("aspect", ASPECTS)
def test_things_lie_inside_the_picture(aspect: float) -> None:
    wide, high = max(1.0, aspect), max(1.0, 1 / aspect)
    for scene in scenes(300, aspect=aspect):
        for thing in scene.things:
            assert thing.radius < thing.x * wide + 1e-9 < wide - thing.radius + 2e-9, scene
            assert thing.radius * 0.99 < thing.y * high < high - thing.radius * 0.99, scene


@pytest.mark.parametrize("aspect", ASPECTS)
def test_a_relation_is_where_the_things_are(aspect: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        scene = sampling.pair(rng, aspect)
        first, second = scene.things
        across, down = second.x - first.x, second.y - first.y
        ahead, aside = {
            Relation.LEFT_OF: (across, down),
            Relation.RIGHT_OF: (-across, down),
            Relation.ABOVE: (down, across),
            Relation.BELOW: (-down, across),
            Relation.LOOSE: (max(abs(across), abs(down)), 0.0),
        }[scene.relation]
        assert ahead > 0.3, scene
        assert abs(aside) < 0.15, scene


def test_a_row_goes_from_left_to_right() -> None:
    rng = np.random.default_rng(4)
    for make in (sampling.trio, sampling.several):
        for _ in range(100):
            things = make(rng, 1.0).things
            assert all(a.x < b.x for a, b in itertools.pairwise(things))
            assert max(t.y for t in things) - min(t.y for t in things) < 0.1


def test_a_place_and_a_size_are_what_they_say() -> None:
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(600):
        scene = sampling.single(rng)
        seen |= {scene.place, scene.size}
        for thing in scene.things:
            if scene.place is Place.MIDDLE:
                assert max(abs(thing.x - 0.5), abs(thing.y - 0.5)) < 0.05
            if "left" in scene.place:
                assert thing.x < 0.5
            if "bottom" in scene.place:
                assert thing.y > 0.5
            assert scene.size is not Size.SMALL or thing.radius < 0.15
            assert scene.size is not Size.LARGE or thing.radius > 0.25
    assert seen == {*Place, *Size}


@pytest.mark.parametrize("grid", [(16, 16), (20, 14), (32, 32)], ids=str)
def test_a_scene_on_a_grid_is_the_same_scene_nearly(grid: tuple[int, int]) -> None:
    columns, rows = grid
    for scene in scenes(200, aspect=columns / rows):
        laid = sampling.on_grid(scene, columns, rows)
        assert laid.key == scene.key
        for thing, other in zip(scene.things, laid.things, strict=True):
            assert (other.x * columns) == pytest.approx(round(other.x * columns))
            assert abs(other.x - thing.x) <= 0.5 / columns + 1e-9
            assert abs(other.y - thing.y) <= 0.5 / rows + 1e-9
            assert other.radius == thing.radius


def test_things_stand_out_from_what_is_behind_them() -> None:
    names = {name: colours.lab(np.array(rgb, np.float32)) for name, rgb in COLOURS.items()}
    for scene in scenes(400):
        for thing, behind in itertools.product(scene.things, scene.background.colours):
            assert np.linalg.norm(names[thing.colour] - names[behind]) > 35, scene.key


def test_a_full_caption_names_every_thing_and_colour() -> None:
    rng = np.random.default_rng(6)
    told = [tells_all(captions.caption(scene, rng), scene) for scene in scenes(1000)]
    # One in ten leaves things out on purpose, so that a model knows short prompts as well.
    assert 0.85 < np.mean(told) < 0.97


def test_captions_are_clean_sentences() -> None:
    rng = np.random.default_rng(7)
    for scene in scenes(1000):
        said = captions.caption(scene, rng)
        assert said == " ".join(said.split()), said
        words = said.replace(",", "").split()
        for article, word in itertools.pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), said
        assert words[-1] not in ("a", "an", "on", "with", "and"), said


@pytest.mark.parametrize("shape", [*Shape, *Product])
def test_an_outline_fits_into_its_circle(shape: Shape | Product) -> None:
    reach = 1.36 if shape is Shape.STRIPE else 1.2
    for line in outlines(shape):
        assert line.ndim == 2
        assert line.shape[1] == 2
        assert np.linalg.norm(line, axis=1).max() < reach


@pytest.mark.parametrize("size", [(512, 512), (1024, 256), (96, 160)], ids=str)
def test_a_picture_has_its_size_and_is_the_same_for_a_seed(size: tuple[int, int]) -> None:
    width, height = size
    for scene in scenes(20, aspect=width / height):
        first, again = (draw(scene, width, height, np.random.default_rng(8)) for _ in range(2))
        assert first.shape == (height, width, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)


@pytest.mark.parametrize("shape", Shape)
def test_a_thing_covers_its_outline(shape: Shape) -> None:
    thing = Thing(shape, "blue", 0.5, 0.5, 0.25)
    scene = Scene(Background(Backing.PLAIN, ("yellow",)), (thing,))
    picture = draw(scene, 400, 400, np.random.default_rng(9)).astype(int)
    covered = (picture[..., 2] > 125).mean()
    signed = [_area(line) for line in outlines(shape)]
    expected = (max(signed) - (min(signed) if len(signed) > 1 else 0)) * 0.25**2
    assert covered == pytest.approx(expected, rel=0.05)  # edges are half a pixel wider


def _area(line: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    x, y = line.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)
