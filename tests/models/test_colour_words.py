"""Finding what words mean, by colour, place and size, in pictures whose masks are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.cli.demo.drawing import product_photo
from farm.errors import InvalidRequest
from models.parts.colour_words import WordsFinder
from models.parts.pictures import Pixels
from models.parts.wishes import Wish, understood
from models.parts.words import Finder
from tests.models import drawing as draw
from tests.models import scenes
from tests.models.drawing import Colour, Painter, Thing

Mask = NDArray[np.bool_]
Shape = Callable[[Thing, Colour], None]
Box = tuple[float, float, float, float]


def ball(t: Thing, colour: Colour) -> None:
    t.ellipse(0, 0, 1, 1, colour)


def box(t: Thing, colour: Colour) -> None:
    t.rectangle(0, 0, 1, 1, colour, 0.08)


def cup(t: Thing, colour: Colour) -> None:
    t.ellipse(0.55, 0.2, 1, 0.75, colour)
    t.ellipse(0.66, 0.34, 0.88, 0.6, None)
    t.rectangle(0, 0.05, 0.72, 1, colour, 0.08)


def labelled(t: Thing, colour: Colour) -> None:
    t.rectangle(0, 0, 1, 1, colour, 0.08)
    t.rectangle(0, 0.35, 1, 0.65, scenes.CREAM)


WALL = draw.gradient((225, 220, 210), (190, 186, 180), 0.4)
DESK = draw.wood((150, 120, 90), (185, 150, 115))
ROOM = draw.two_tone((205, 200, 190), (165, 140, 115), 0.6)
CLOTH = draw.fabric((120, 128, 130), 8)
NIGHT = draw.vignette((95, 90, 92), (60, 56, 60))

TOP_LEFT, TOP_RIGHT = (0.08, 0.1, 0.2, 0.2), (0.7, 0.08, 0.2, 0.22)
LOW_LEFT, LOW_RIGHT = (0.1, 0.66, 0.22, 0.2), (0.68, 0.68, 0.2, 0.22)
MIDDLE = (0.4, 0.38, 0.22, 0.24)

CASES: Mapping[str, tuple[Painter, Any]] = {
    # What is asked for comes first.
    "the red ball": (
        WALL,
        [(ball, scenes.RED, LOW_RIGHT), (ball, scenes.BLUE, TOP_LEFT), (cup, scenes.GREEN, MIDDLE)],
    ),
    "blue cup": (DESK, [(cup, scenes.BLUE, TOP_RIGHT), (ball, scenes.YELLOW, LOW_LEFT)]),
    "a dark green box": (
        WALL,
        [(box, (25, 70, 35), LOW_LEFT), (box, (120, 220, 130), TOP_RIGHT)],
    ),
    "the light green box": (
        WALL,
        [(box, (140, 220, 150), TOP_RIGHT), (box, (25, 70, 35), LOW_LEFT)],
    ),
    "yellow thing": (ROOM, [(ball, scenes.YELLOW, MIDDLE), (box, scenes.TEAL, LOW_RIGHT)]),
    "the orange ball": (CLOTH, [(ball, scenes.ORANGE, TOP_LEFT), (ball, scenes.RED, LOW_RIGHT)]),
    "remove the purple box": (WALL, [(box, scenes.PURPLE, MIDDLE), (box, scenes.BLUE, TOP_LEFT)]),
    "pink": (NIGHT, [(ball, scenes.PINK, LOW_LEFT), (ball, scenes.RED, TOP_RIGHT)]),
    "a teal cup": (ROOM, [(cup, scenes.TEAL, TOP_LEFT), (ball, scenes.GREEN, LOW_RIGHT)]),
    "the brown box": (WALL, [(box, scenes.BROWN, LOW_LEFT), (ball, scenes.ORANGE, TOP_RIGHT)]),
    "white ball": (CLOTH, [(ball, scenes.WHITE, MIDDLE), (ball, scenes.BLACK, TOP_LEFT)]),
    "the black ball": (CLOTH, [(ball, scenes.BLACK, TOP_LEFT), (ball, scenes.WHITE, MIDDLE)]),
    "gray box": (DESK, [(box, (95, 96, 98), LOW_RIGHT), (box, scenes.BLUE, TOP_LEFT)]),
    "crimson": (WALL, [(ball, (185, 20, 55), TOP_RIGHT), (ball, scenes.BROWN, LOW_LEFT)]),
    "the ball on the left": (
        WALL,
        [(ball, scenes.RED, TOP_LEFT), (ball, scenes.RED, LOW_RIGHT)],
    ),
    "red ball at the bottom right": (
        DESK,
        [(ball, scenes.RED, LOW_RIGHT), (ball, scenes.RED, TOP_LEFT), (box, scenes.BLUE, LOW_LEFT)],
    ),
    "the thing in the top right corner": (
        ROOM,
        [(box, scenes.GREEN, TOP_RIGHT), (ball, scenes.RED, LOW_LEFT)],
    ),
    "what is in the middle of the picture": (
        CLOTH,
        [(ball, scenes.YELLOW, MIDDLE), (box, scenes.RED, TOP_LEFT)],
    ),
    "bottom": (WALL, [(cup, scenes.BLUE, LOW_LEFT), (cup, scenes.BLUE, TOP_RIGHT)]),
    "the small blue ball": (
        WALL,
        [(ball, scenes.BLUE, (0.2, 0.2, 0.08, 0.08)), (ball, scenes.BLUE, (0.5, 0.4, 0.35, 0.35))],
    ),
    "the big blue ball": (
        WALL,
        [(ball, scenes.BLUE, (0.5, 0.4, 0.35, 0.35)), (ball, scenes.BLUE, (0.2, 0.2, 0.08, 0.08))],
    ),
    "the blue bottle with a red label": (
        DESK,
        [(labelled, scenes.BLUE, (0.38, 0.2, 0.2, 0.6)), (ball, scenes.RED, LOW_RIGHT)],
    ),
    "the blue ball next to the red box": (
        WALL,
        [(ball, scenes.BLUE, LOW_LEFT), (box, scenes.RED, MIDDLE)],
    ),
}


def scene(
    behind: Painter, things: list[tuple[Shape, Colour, Box]], size: tuple[int, int] = (520, 440)
) -> tuple[Pixels, Mask]:
    """A picture, and where the first of its things is."""
    random = np.random.default_rng(11)
    picture = behind(random, size[1], size[0])
    masks = []
    for shape, colour, where in things:
        thing = Thing(size, where)
        shape(thing, colour)
        cover, colours = thing.finished(random)
        picture = picture * (1 - cover[..., None]) + colours * cover[..., None]
        masks.append(cover > 0.5)
    return draw.photographed(picture, random, 3), masks[0]


def found(picture: Pixels, prompt: str) -> Mask:
    mask = WordsFinder().mask(Image.fromarray(picture), prompt, lambda: None)
    assert mask.dtype == np.uint8
    assert mask.shape == picture.shape[:2]
    assert set(np.unique(mask)) <= {0, 255}
    return np.asarray(mask > 0)


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union."""
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("prompt", CASES)
def test_what_the_words_name_is_found(prompt: str) -> None:
    behind, things = CASES[prompt]
    picture, truth = scene(behind, things)
    assert overlap(found(picture, prompt), truth) >= 0.85


@pytest.mark.parametrize("prompt", ["the red ball", "ball on the right", "bottom right"])
def test_the_ball_of_the_demo_is_found_without_its_shadow(prompt: str) -> None:
    y, x = np.mgrid[0:768, 0:768]
    truth = np.hypot(x - 0.82 * 768, y - 0.76 * 768) <= 0.075 * 768
    assert overlap(found(np.asarray(product_photo()), prompt), truth) >= 0.9


def test_the_bottle_of_the_demo_is_found_with_cap_and_label() -> None:
    mask = found(np.asarray(product_photo()), "the blue bottle")
    truth = np.zeros((768, 768), bool)
    truth[276:660, 276:476] = True
    truth[154:300, 342:411] = True
    assert overlap(mask, truth) >= 0.95


@pytest.mark.parametrize("size", [(1100, 900), (200, 160)])
def test_large_and_small_pictures(size: tuple[int, int]) -> None:
    picture, truth = scene(WALL, [(ball, scenes.RED, LOW_RIGHT), (box, scenes.BLUE, MIDDLE)], size)
    assert overlap(found(picture, "red ball"), truth) >= 0.9


@pytest.mark.parametrize(
    "prompt",
    [
        "the purple ball",
        "the red ball at the top",
        "the ball",
        "the sofa",
        "left of the red ball",
        "the ball next to the red box",
        "?!",
        "das rote Auto",
    ],
)
def test_what_is_not_there_is_said_in_words(prompt: str) -> None:
    picture, _ = scene(WALL, [(ball, scenes.RED, LOW_RIGHT), (box, scenes.BLUE, LOW_LEFT)])
    with pytest.raises(InvalidRequest, match="was not found in the picture") as caught:
        found(picture, prompt)
    [error] = caught.value.errors
    assert error.field == "prompt"
    assert prompt in error.message
    assert "send a mask" in error.message


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (400, 1), (1, 400), (60, 60)])
def test_in_an_empty_picture_nothing_is_found(size: tuple[int, int]) -> None:
    picture = np.full((size[1], size[0], 3), 150, np.uint8)
    for prompt in ("red", "the middle", "the big grey thing"):
        with pytest.raises(InvalidRequest, match="was not found"):
            found(picture, prompt)


def test_it_reports_its_stages_and_gives_the_same_twice() -> None:
    finder: Finder = WordsFinder()
    finder.load("cpu")
    picture, _ = scene(WALL, [(ball, scenes.RED, LOW_RIGHT)])
    calls: list[int] = []
    masks = [
        finder.mask(Image.fromarray(picture), "red", lambda: calls.append(1)) for _ in range(2)
    ]
    assert np.array_equal(*masks)
    assert len(calls) == 2 * finder.stages
    finder.unload()
    assert finder.resident_bytes == 0


@pytest.mark.parametrize(
    ("prompt", "across", "down", "size", "colours"),
    [
        ("top left", -1, -1, 0, 0),
        ("the red ball on the left", -1, None, 0, 1),
        ("the ball in the middle", 0, 0, 0, 0),
        ("top center", None, -1, 0, 0),
        ("The BIG, red ball!", None, None, 1, 1),
        ("red and white can", None, None, 0, 2),
        ("the tiny cup on the blue table", None, None, -1, 0),
    ],
)
def test_what_words_say(
    prompt: str, across: int | None, down: int | None, size: int, colours: int
) -> None:
    wish = understood(prompt)
    assert wish is not None
    assert (wish.across, wish.down, wish.size, len(wish.colours)) == (across, down, size, colours)


@pytest.mark.parametrize("prompt", ["", "the dog", "ball on the blue table", "left of the cup"])
def test_words_that_say_nothing_of_use(prompt: str) -> None:
    assert understood(prompt) is None


def test_a_wish_knows_whether_it_says_where() -> None:
    assert Wish(across=0).says_where
    assert not Wish(size=1).says_where
