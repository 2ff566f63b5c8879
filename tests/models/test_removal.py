"""How a mask is divided into the parts that are worked on, and colours behind transparency."""

from __future__ import annotations

import numpy as np
import pytest

from models.parts.hidden import bled
from models.parts.removal import AREAS_MAX, areas_of


def test_each_separate_part_has_its_own_pixels_and_context() -> None:
    mask = np.zeros((300, 400), np.uint8)
    mask[20:60, 30:130] = 255
    mask[250:260, 380:400] = 255
    large, small = areas_of(mask, 4, 30)
    # Grown by 4, the large one is 108 wide: 54 pixels of context, as far as there are any.
    assert (large.rows, large.columns) == (slice(0, 118), slice(0, 188))
    assert (small.rows, small.columns) == (slice(216, 294), slice(346, 400))
    for area in (large, small):
        assert np.array_equal(area.mask, mask[area.rows, area.columns])


def test_parts_that_touch_when_grown_are_one() -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[10:20, 10:20] = mask[10:20, 27:40] = 255
    assert len(areas_of(mask, 4, 5)) == 1
    assert len(areas_of(mask, 2, 5)) == 2


@pytest.mark.parametrize("count", [1, AREAS_MAX, AREAS_MAX + 1, 40])
def test_however_many_parts_there_are_the_work_is_bounded(count: int) -> None:
    mask = np.zeros((40, 30 * count), np.uint8)
    for number in range(count):
        mask[10 : 12 + number % 20, 30 * number + 5 : 30 * number + 10] = 255
    areas = areas_of(mask, 3, 8)
    assert len(areas) == min(count, AREAS_MAX)
    together = np.zeros_like(mask)
    for area in areas:
        part = together[area.rows, area.columns]
        assert not (part & area.mask).any()
        part |= area.mask
    assert np.array_equal(together, mask)


def test_a_mask_all_over_is_one_part() -> None:
    [area] = areas_of(np.full((7, 9), 255, np.uint8), 4, 128)
    assert (area.rows, area.columns) == (slice(0, 7), slice(0, 9))
    assert area.mask.all()


def test_hidden_colours_are_those_of_the_nearest_pixel_that_shows() -> None:
    colours = np.zeros((5, 12, 3), np.uint8)
    colours[:, :2], colours[:, 10:] = (200, 10, 10), (10, 10, 200)
    alpha = np.zeros((5, 12), np.uint8)
    alpha[:, :2], alpha[:, 10:] = 255, 1
    filled = bled(colours, alpha)
    assert (filled[:, :6] == (200, 10, 10)).all()
    assert (filled[:, 6:] == (10, 10, 200)).all()


def test_colours_that_all_show_or_never_do_stay() -> None:
    colours = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for alpha in (None, np.full((4, 5), 9, np.uint8), np.zeros((4, 5), np.uint8)):
        assert np.array_equal(bled(colours, alpha), colours)
