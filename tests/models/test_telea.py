"""Removing things without a network: what a person sees where something was."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.cli.demo.drawing import product_photo
from farm.errors import InvalidRequest
from farm.types import RunRequest
from models.base import Engine
from models.engines.telea import TeleaEngine
from models.parts.filling import filled
from models.parts.holes import blend_margin, grown
from models.parts.shadows import with_shadow
from tests.contracts.edit_engine import (
    EditEngineContract,
    Pixels,
    TimeIsUp,
    decoded,
    ignore,
    tiff,
)
from tests.models import drawing as draw
from tests.models.setups import setup

MODEL = "remove-object"
SIDE = 384
SMOOTH = {
    "plain": draw.plain((200, 190, 170)),
    "gradient": draw.gradient((40, 45, 70), (230, 190, 240), 0.6),
    "steep gradient": draw.gradient((10, 120, 60), (250, 130, 40), 1.4),
    "studio": draw.vignette((250, 240, 230), (105, 108, 132)),
}
PATTERNED = {
    "wall and table": draw.two_tone((205, 200, 190), (150, 115, 85), 0.52),
    "tiles": draw.tiled((205, 210, 215), (165, 175, 185), 12),
    "fabric": draw.fabric((70, 80, 105), 10),
}


def engine(cache: Path) -> Engine:
    return TeleaEngine(setup(MODEL, "telea", cache, TimeIsUp))


def job(picture: Pixels, mask: Pixels | None = None, prompt: str | None = None) -> RunRequest:
    inputs = {"image": tiff(picture)}
    if mask is not None:
        inputs["mask"] = tiff(mask)
    params = {} if prompt is None else {"prompt": prompt}
    return RunRequest(uuid.uuid4(), 1, MODEL, "remove-object", params, inputs)


def disc(side: int, x: float, y: float, radius: float) -> Pixels:
    down, across = np.mgrid[0:side, 0:side]
    return np.where(np.hypot(across - x, down - y) <= radius, 255, 0).astype(np.uint8)


HOLES = {
    "in the middle": disc(SIDE, 200, 190, 36),
    "at the edge": disc(SIDE, 376, 210, 40),
    "a ring": disc(SIDE, 190, 190, 50) - disc(SIDE, 190, 190, 30),
    "a bar": cv2.rectangle(np.zeros((SIDE, SIDE), np.uint8), (60, 180), (320, 205), 255, -1),
}


def spoilt(painter: draw.Painter, mask: Pixels, side: int = SIDE) -> tuple[Pixels, draw.Floats]:
    """A photo with a red thing in it, and the colours that are behind it."""
    random = np.random.default_rng(5)
    clean = painter(random, side, side)
    photo = draw.photographed(clean, random, 3)
    photo[mask > 0] = (200, 30, 40)
    return photo, clean


@pytest.fixture(scope="module")
def eraser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = engine(tmp_path_factory.mktemp("telea"))
    made.load("cpu")
    yield made
    made.unload()


def erased(eraser: Engine, request: RunRequest) -> Pixels:
    [artifact] = eraser.run(request, ignore)
    return decoded(artifact)


class TestTelea(EditEngineContract):
    model_id = MODEL
    operation = "remove-object"
    served_by = "telea"
    bad_params: ClassVar = ({"prompt": 7}, {"prompt": " "}, {"strength": 1})

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return engine(cache)

    @classmethod
    def inputs(cls, image: Image.Image) -> dict[str, bytes]:
        width, height = image.size
        mask = np.zeros((height, width), np.uint8)
        mask[height // 3 : height // 2 + 1, width // 3 : width // 2 + 1] = 255
        return {"image": tiff(image), "mask": tiff(mask)}


@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("behind", SMOOTH)
def test_what_was_behind_comes_back(eraser: Engine, behind: str, hole: str) -> None:
    mask = HOLES[hole]
    photo, clean = spoilt(SMOOTH[behind], mask)
    made = erased(eraser, job(photo, mask)).astype(np.float32)
    assert np.abs(made - clean)[mask > 0].mean() <= 8
    # Without the grain, which nobody can know, it is nearer still.
    calm = cv2.GaussianBlur(made, (0, 0), 2)
    assert np.abs(calm - clean)[mask > 0].mean() <= 4
    assert np.abs(calm - clean)[mask > 0].max() <= 40


@pytest.mark.parametrize("hole", ["in the middle", "at the edge", "a ring"])
@pytest.mark.parametrize("behind", PATTERNED)
def test_a_pattern_goes_on(eraser: Engine, behind: str, hole: str) -> None:
    mask = HOLES[hole]
    photo, clean = spoilt(PATTERNED[behind], mask)
    made = erased(eraser, job(photo, mask)).astype(np.float32)
    assert np.abs(made - clean)[mask > 0].mean() <= 8


@pytest.mark.parametrize("behind", SMOOTH)
def test_the_grain_of_the_photo_goes_on(eraser: Engine, behind: str) -> None:
    mask = HOLES["in the middle"]
    photo, _ = spoilt(SMOOTH[behind], mask)
    made = erased(eraser, job(photo, mask)).astype(np.float32)
    grain = made - cv2.GaussianBlur(made, (0, 0), 2)
    around = (grown(mask, 40) > 0) & (grown(mask, 12) == 0)
    assert 0.7 <= grain[mask > 0].std() / grain[around].std() <= 1.3


@pytest.mark.parametrize("channels", [3, 4])
def test_nothing_changes_beyond_the_grown_mask(eraser: Engine, channels: int) -> None:
    mask = HOLES["at the edge"] | HOLES["a bar"]
    photo, _ = spoilt(PATTERNED["tiles"], mask)
    if channels == 4:
        photo = np.dstack([photo, np.full(mask.shape, 200, np.uint8)])
    made = erased(eraser, job(photo, mask))
    far = grown(mask, blend_margin(SIDE, SIDE)) == 0
    assert np.array_equal(made[far], photo[far])
    assert (np.abs(made[mask > 0].astype(int) - photo[mask > 0]).mean(axis=0)[:3] > 20).all()


def test_in_front_of_nothing_nothing_is_left(eraser: Engine) -> None:
    mask = disc(120, 60, 60, 20)
    photo = np.dstack([np.zeros((120, 120, 3), np.uint8), grown(mask, 3)])
    made = erased(eraser, job(photo, grown(mask, 8)))
    assert not made[..., 3].any()


def test_what_shows_stays_opaque(eraser: Engine) -> None:
    mask = HOLES["in the middle"]
    photo, _ = spoilt(SMOOTH["studio"], mask)
    opaque = np.dstack([photo, np.full(mask.shape, 255, np.uint8)])
    made = erased(eraser, job(opaque, mask))
    assert (made[..., 3] == 255).all()
    assert np.array_equal(made[..., :3], erased(eraser, job(photo, mask)))


def test_every_separate_part_is_a_step(eraser: Engine) -> None:
    seen: list[tuple[int, int]] = []
    mask = disc(SIDE, 60, 60, 20) | disc(SIDE, 200, 190, 30) | disc(SIDE, 330, 90, 10)
    photo, _ = spoilt(SMOOTH["studio"], mask)
    eraser.run(job(photo, mask), lambda step, steps: seen.append((step, steps)))
    assert seen == [(1, 2), (2, 4), (3, 4), (4, 4)]


def test_a_mask_is_taken_before_words(eraser: Engine) -> None:
    mask = HOLES["in the middle"]
    photo, _ = spoilt(SMOOTH["plain"], mask)
    made = erased(eraser, job(photo, mask, "the green bottle"))
    assert np.array_equal(made, erased(eraser, job(photo, mask)))


def test_all_of_the_picture_masked_leaves_it_as_it_is(eraser: Engine) -> None:
    photo = np.full((30, 40, 3), 90, np.uint8)
    made = erased(eraser, job(photo, np.full((30, 40), 255, np.uint8)))
    assert np.array_equal(made, photo)


def test_without_mask_and_words_there_is_nothing_to_do(eraser: Engine) -> None:
    with pytest.raises(InvalidRequest, match="or a prompt instead") as caught:
        eraser.run(job(np.zeros((30, 40, 3), np.uint8)), ignore)
    assert [error.field for error in caught.value.errors] == ["mask"]


def test_what_the_words_do_not_find_ends_the_job_with_a_sentence(eraser: Engine) -> None:
    photo, _ = spoilt(SMOOTH["studio"], HOLES["in the middle"])
    with pytest.raises(InvalidRequest, match="'the green cup' was not found") as caught:
        eraser.run(job(photo, prompt="the green cup"), ignore)
    assert [error.field for error in caught.value.errors] == ["prompt"]


def ball(side: int = 768) -> NDArray[np.bool_]:
    """Where the ball is in the demo's photo, its rim included."""
    return disc(side, 0.82 * side, 0.76 * side, 0.075 * side + 1) > 0


def test_a_ball_and_its_shadow_leave_only_the_table(eraser: Engine) -> None:
    photo = np.asarray(product_photo())
    made = erased(eraser, job(photo, prompt="the red ball")).astype(np.float32)
    # The planks are the same all along the table.
    planks = photo[:, 20:200].mean(axis=1)[:, None]
    there = ball()
    assert np.abs(made - planks)[there].mean() <= 10
    shadow = disc(768, 0.84 * 768, 0.84 * 768, 30) > 0
    assert np.abs(photo - planks)[shadow & ~there].mean() > 25
    assert np.abs(made - planks)[shadow].mean() <= 12
    far = np.ones((768, 768), bool)
    far[480:720, 500:] = False
    assert np.array_equal(made[far], photo[far])


def test_a_shadow_is_found_and_what_is_merely_another_colour_is_not() -> None:
    random = np.random.default_rng(3)
    clean = draw.plain((190, 170, 150))(random, 240, 240)
    light = np.ones((240, 240), np.float32)
    light[150:170, 90:170] = 0.6
    light = cv2.GaussianBlur(light, (0, 0), 4)
    photo = draw.photographed(clean * light[..., None], random, 2)
    thing = disc(240, 120, 130, 30)
    photo[thing > 0] = (30, 60, 180)
    photo[100:125, 155:180] = (60, 140, 70)
    found = with_shadow(photo, thing)
    cast = (light < 0.85) & (thing == 0)
    assert (found[cast] > 0).mean() > 0.85
    assert (found[thing > 0] > 0).all()
    assert not found[100:120, 160:180].any()
    assert (found > 0).sum() < 2.5 * ((thing > 0) | (light < 0.95)).sum()
    bright = draw.photographed(clean, random, 2)
    bright[thing > 0] = (30, 60, 180)
    assert (with_shadow(bright, thing) > 0).sum() < 1.1 * (thing > 0).sum()


def test_filling_keeps_what_is_not_hole() -> None:
    photo, _ = spoilt(PATTERNED["fabric"], HOLES["a ring"])
    hole = grown(HOLES["a ring"], 3)
    for textured in (True, False):
        made = filled(photo, hole, textured)
        assert np.array_equal(made[hole == 0], photo[hole == 0])
        assert np.abs(made[hole > 0] - (200.0, 30, 40)).mean() > 40


def test_a_hole_of_a_tenth_takes_less_than_a_second_at_1024(eraser: Engine) -> None:
    mask = np.zeros((1024, 1024), np.uint8)
    mask[400:503, 500:603] = 255
    photo, _ = spoilt(SMOOTH["gradient"], mask, 1024)
    request = job(photo, mask)
    started = time.process_time()
    eraser.run(request, ignore)
    assert time.process_time() - started < 1
