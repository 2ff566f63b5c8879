"""Clean colours at soft edges, and what is kept of a picture's own transparency."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import pytest
from PIL import Image

from models.parts.matting import BLEED_PIXELS, OnStage, cut_out, decontaminated
from models.parts.pictures import Pixels

RED, BLUE = (200, 40, 30), (20, 60, 220)


def soft_disc(size: int, radius: float, softness: float) -> Pixels:
    y, x = np.mgrid[0:size, 0:size]
    away = np.hypot(x - size / 2, y - size / 2)
    return np.rint(255 * np.clip(0.5 + (radius - away) / softness, 0, 1)).astype(np.uint8)


def mixed(alpha: Pixels) -> Pixels:
    """A red thing before a blue wall."""
    share = alpha[..., None] / 255
    return np.rint(np.array(RED) * share + np.array(BLUE) * (1 - share)).astype(np.uint8)


class Knowing:
    """A matter that knows the answer."""

    name: ClassVar[str] = "knowing"
    stages: ClassVar[int] = 2
    resident_bytes: ClassVar[int] = 0

    def __init__(self, answer: Pixels) -> None:
        self.answer = answer
        self.seen: list[Image.Image] = []

    def load(self, device: str) -> None: ...

    def unload(self) -> None: ...

    def alpha(self, image: Image.Image, on_stage: OnStage) -> Pixels:
        self.seen.append(image)
        on_stage()
        on_stage()
        return self.answer


@pytest.mark.parametrize("size", [120, 1500])
@pytest.mark.parametrize("softness", [2.0, 12.0])
def test_the_background_no_longer_shines_through(size: int, softness: float) -> None:
    alpha = soft_disc(size, size / 4, softness)
    made = decontaminated(mixed(alpha), alpha)
    assert np.array_equal(made[..., 3], alpha)
    visible = alpha > 12
    assert np.abs(made[visible][:, :3].astype(int) - RED).mean() < 2
    assert np.abs(made[visible][:, :3].astype(int) - RED).max() < 45


def test_colours_reach_into_the_clear_part_and_no_farther() -> None:
    alpha = soft_disc(160, 40, 2.0)
    made = decontaminated(mixed(alpha), alpha)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BLEED_PIXELS + 1,) * 2)
    near = (cv2.dilate(alpha, disc) > 0) & (alpha == 0)
    assert np.abs(made[near][:, :3].astype(int) - RED).max() < 30
    assert (made[(alpha == 0) & ~near] == 0).all()


@pytest.mark.parametrize("level", [0, 255])
def test_without_an_edge_nothing_is_estimated(level: int) -> None:
    picture = np.random.default_rng(1).integers(1, 256, (30, 40, 3), np.uint8)
    made = decontaminated(picture, np.full((30, 40), level, np.uint8))
    assert np.array_equal(made[..., :3], picture if level else np.zeros_like(picture))


def test_transparency_limits_the_cut_out() -> None:
    answer = soft_disc(80, 25, 2.0)
    before = np.full((80, 80), 255, np.uint8)
    before[:, 40:60] = 100
    image = Image.fromarray(np.dstack([mixed(answer), before]))
    matter = Knowing(answer)
    stages: list[int] = []
    made = cut_out(image, matter, lambda: stages.append(1))
    assert np.array_equal(made[..., 3], np.minimum(answer, before))
    assert len(stages) == matter.stages
    assert matter.seen[0].mode == "RGB"


def test_what_was_cut_out_before_is_not_asked_about() -> None:
    alpha = soft_disc(80, 25, 2.0)
    image = Image.fromarray(np.dstack([mixed(alpha), alpha]))
    matter = Knowing(np.zeros_like(alpha))
    stages: list[int] = []
    assert np.array_equal(cut_out(image, matter, lambda: stages.append(1)), np.asarray(image))
    assert matter.seen == []
    assert len(stages) == matter.stages
