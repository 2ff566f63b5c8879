"""Masks that grow and fade, and fillings that are pasted in."""

from __future__ import annotations

import numpy as np
import pytest

from models.parts.holes import blend_margin, bounds, feathered, grown, pasted
from models.parts.pictures import Pixels


def disc(size: int, radius: float) -> Pixels:
    y, x = np.mgrid[0:size, 0:size]
    return np.where(np.hypot(x - size // 2, y - size // 2) <= radius, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "margin"), [(1, 1, 4), (512, 100, 4), (1024, 800, 8), (300, 4096, 16)]
)
def test_the_margin_follows_the_picture(width: int, height: int, margin: int) -> None:
    assert blend_margin(width, height) == margin


@pytest.mark.parametrize("pixels", [0, 1, 5, 12])
def test_a_mask_grows_by_a_disc(pixels: int) -> None:
    made = grown(disc(61, 10), pixels)
    assert set(np.unique(made)) == {0, 255}
    assert abs(int((made > 0).sum()) - np.pi * (10 + pixels) ** 2) < 0.12 * (made > 0).sum()
    assert (made[disc(61, 10) > 0] == 255).all()


@pytest.mark.parametrize("level", [0, 255])
def test_all_or_nothing_stays_that(level: int) -> None:
    mask = np.full((9, 9), level, np.uint8)
    assert np.array_equal(grown(mask, 3), mask)
    assert np.array_equal(feathered(mask, 3), mask)


def test_a_feather_falls_evenly_to_nothing_at_its_margin() -> None:
    mask = np.zeros((1, 40), np.uint8)
    mask[0, :10] = 255
    fade = feathered(mask, 8)[0].astype(int)
    assert (fade[:10] == 255).all()
    assert (fade[18:] == 0).all()
    steps = np.diff(fade[9:19])
    assert (steps < 0).all()
    assert np.ptp(steps[1:-1]) <= 1


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("margin", [0, 4, 16])
def test_pasting_touches_nothing_outside_the_grown_mask(channels: int, margin: int) -> None:
    random = np.random.default_rng(margin)
    picture, filling = random.integers(0, 256, (2, 80, 80, channels), np.uint8)
    mask = disc(80, 12)
    made = pasted(picture, filling, mask, margin)
    assert np.array_equal(made[mask > 0], filling[mask > 0])
    outside = grown(mask, margin) == 0
    assert np.array_equal(made[outside], picture[outside])
    between = np.minimum(picture, filling), np.maximum(picture, filling)
    assert ((made >= between[0]) & (made <= between[1])).all()


def test_bounds_stay_within_the_picture() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 27:29] = 255
    assert bounds(mask, 0) == (27, 2, 29, 5)
    assert bounds(mask, 4) == (23, 0, 30, 9)
