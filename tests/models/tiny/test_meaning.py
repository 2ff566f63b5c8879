"""What the trained miniatures paint, read back from their pictures."""

from __future__ import annotations

import functools
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from farm.catalog import built_in_catalog
from farm.errors import Cancelled
from farm.types import RunRequest
from models import registry
from models.base import Engine
from models.parts.grabcut import GrabcutMatter
from models.parts.matting import cut_out
from models.tiny.evaluate import prompts, reader, scoring
from models.tiny.evaluate.prompts import CONTACT_SHEET, Question
from models.tiny.scenes import draw
from models.tiny.scenes.plan import Background, Backing, Product, Scene, Thing
from tests.contracts.edit_engine import decoded, tiff
from tests.contracts.engine import ignore, pixels

Pixels = draw.Pixels
Painter = Callable[..., Pixels]
SIDE = 512
QUICK = 12
"""Steps: fewer than a customer gets, enough to see."""
SINGLES = [each for each in prompts.held_out_questions(60, 11) if each.kind == prompts.SINGLE][:16]


def loaded(model: str, tiny_cache: Path) -> Iterator[Engine]:
    engine = registry.create(built_in_catalog().models[model], "tiny", cache=tiny_cache)
    engine.load("cpu")
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def sdxl(tiny_cache: Path) -> Iterator[Engine]:
    yield from loaded("sdxl", tiny_cache)


def request(model: str, prompt: str, **changes: Any) -> RunRequest:
    params = {"prompt": prompt, "width": SIDE, "height": SIDE, "seed": 1, **changes}
    return RunRequest(uuid.uuid4(), 1, model, "generate", params)


@pytest.fixture(scope="module")
def paint(sdxl: Engine) -> Painter:
    """Pictures by prompt and parameters, each painted once."""

    @functools.cache
    def picture(prompt: str, **changes: Any) -> Pixels:
        params = {"steps": QUICK, "guidance_scale": 7.5, **changes}
        [artifact] = sdxl.run(request("sdxl", prompt, **params), ignore)
        return pixels(artifact)

    return picture


def right(paint: Painter, questions: list[Question], **changes: Any) -> int:
    """How many pictures show their thing in its colour and shape, on its background."""
    judged = [(q, paint(q.prompt, seed=q.seed, **changes)) for q in questions]
    verdicts = [scoring.judge(question, picture) for question, picture in judged]
    return sum(verdict.things and verdict.background for verdict in verdicts)


def test_most_pictures_show_what_the_prompt_says(paint: Painter) -> None:
    assert right(paint, SINGLES) >= len(SINGLES) * 3 // 4


def test_guidance_brings_the_picture_nearer_to_the_prompt(paint: Painter) -> None:
    assert right(paint, SINGLES) > right(paint, SINGLES, guidance_scale=1.0)


def test_more_steps_do_not_make_it_worse(paint: Painter) -> None:
    few, many = right(paint, SINGLES[:8], steps=4), right(paint, SINGLES[:8], steps=30)
    assert many >= few


def test_the_same_seed_is_the_same_picture_and_another_is_another(sdxl: Engine) -> None:
    asked = {"steps": 4, "guidance_scale": 5.0}
    pictures = [
        pixels(sdxl.run(request("sdxl", "a blue star", seed=seed, **asked), ignore)[0])
        for seed in (5, 5, 6)
    ]
    assert np.array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0].astype(int) - pictures[2]).mean() > 5


@pytest.mark.parametrize(
    ("prompt", "negative"),
    [("a heart on a white background", "red"), ("a circle on a black background", "yellow")],
)
def test_a_negative_prompt_takes_away_what_it_names(
    paint: Painter, prompt: str, negative: str
) -> None:
    """The prompt leaves the thing's colour open; the negative prompt names one."""

    def share(**changes: Any) -> float:
        pictures = [paint(prompt, seed=seed, **changes) for seed in range(12)]
        colours = Counter(thing.colour for each in pictures for thing in reader.read(each).things)
        return colours[negative] / max(1, colours.total())

    usual = share()
    assert share(negative_prompt=f"a {negative} thing") <= usual
    assert share(negative_prompt=f"{prompt}") != usual


def test_cancel_stops_early(sdxl: Engine) -> None:
    seen: list[int] = []

    def stop(step: int, steps: int) -> None:
        seen.append(step)
        if step == 3:
            raise Cancelled("The customer changed their mind.")

    asked = request("sdxl", "a red circle", steps=30, guidance_scale=7.5)
    with pytest.raises(Cancelled):
        sdxl.run(asked, stop)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("size", [(768, 512), (512, 768), (1024, 1024)])
def test_other_sizes_show_the_prompt_too(paint: Painter, size: tuple[int, int]) -> None:
    question = CONTACT_SHEET[0]
    width, height = size
    seeds = range(4)
    made = [paint(question.prompt, seed=seed, width=width, height=height) for seed in seeds]
    assert sum(scoring.judge(question, picture).right for picture in made) >= 2


def test_flux_paints_it_in_four_steps(tiny_cache: Path) -> None:
    for engine in loaded("flux-schnell", tiny_cache):
        made = []
        for question in SINGLES[:8]:
            asked = request(
                "flux-schnell", question.prompt, seed=question.seed, steps=4, guidance_scale=0.0
            )
            made.append((question, pixels(engine.run(asked, ignore)[0])))
    verdicts = [scoring.judge(question, picture) for question, picture in made]
    assert sum(verdict.things and verdict.background for verdict in verdicts) >= 5


def photograph() -> Pixels:
    """A blue mug on a white table, before a grey wall."""
    background = Background(Backing.TABLE, ("grey", "white"), share=0.6)
    mug = Thing(Product.MUG, "blue", 0.5, 0.52, 0.24)
    return draw.draw(Scene(background, (mug,)), SIDE, SIDE, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("prompt", "wall", "table"),
    [
        ("on a wooden table, yellow wall", "yellow", "brown"),
        ("on a green table in front of a pink wall", "pink", "green"),
    ],
)
def test_replace_background_keeps_the_product_and_paints_the_scene(
    tiny_cache: Path, prompt: str, wall: str, table: str
) -> None:
    photo = photograph()
    for engine in loaded("replace-background", tiny_cache):
        job = RunRequest(
            uuid.uuid4(),
            1,
            "replace-background",
            "replace-background",
            {"prompt": prompt, "seed": 4},
            {"image": tiff(photo)},
        )
        made = decoded(engine.run(job, ignore)[0])
    alpha = cut_out(Image.fromarray(photo), GrabcutMatter(), lambda: None)[..., 3]
    assert np.array_equal(made[alpha == 255], photo[alpha == 255])
    seen = reader.read(np.where((alpha > 0)[..., None], cv2.blur(made, (5, 5)), made))
    assert seen.background == (wall, table)
