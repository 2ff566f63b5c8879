"""Canvases for pictures of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from models.parts.canvas import GREY, LONGEST_RATIO, Canvas

SIZES = [(1, 1), (1024, 1024), (1000, 1500), (4032, 3024), (333, 517), (4096, 16), (3, 4096)]


@pytest.mark.parametrize("size", SIZES)
def test_a_canvas_is_as_large_as_the_model_likes(size: tuple[int, int]) -> None:
    canvas = Canvas.around(size, 1024, 64)
    assert canvas.width % 64 == 0 == canvas.height % 64
    assert 0.9 < canvas.width * canvas.height / 1024**2 < 1.1
    assert 1 / LONGEST_RATIO <= canvas.width / canvas.height <= LONGEST_RATIO


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_lies_in_the_middle_in_its_own_proportions(size: tuple[int, int]) -> None:
    canvas = Canvas.around(size, 1024, 64)
    left, top, right, bottom = canvas.box
    wide, high = right - left, bottom - top
    assert abs(left - (canvas.width - right)) <= 1
    assert abs(top - (canvas.height - bottom)) <= 1
    assert (wide == canvas.width) or (high == canvas.height)
    shortest = min(wide, high)
    assert math.isclose(wide / high, size[0] / size[1], rel_tol=1 / shortest)


def test_what_is_laid_down_comes_back_where_it_was() -> None:
    y, x = np.mgrid[0:300, 0:500]
    colours = np.dstack([x // 2, y // 2, np.full_like(x, 90)]).astype(np.uint8)
    alpha = np.where(np.hypot(x - 320, y - 140) < 90, 255, 0).astype(np.uint8)
    canvas = Canvas.around((500, 300), 512, 64)
    seen, free = canvas.lay(Image.fromarray(np.dstack([colours, alpha])))
    assert seen.size == free.size == (canvas.width, canvas.height)
    assert (np.asarray(seen)[np.asarray(free) == 255] == GREY).mean() > 0.98
    back = canvas.take(seen, (500, 300)).astype(int)
    assert back.shape == (300, 500, 3)
    inside = np.hypot(x - 320, y - 140) < 85
    assert np.abs(back - colours)[inside].mean() < 1.5
    around = np.hypot(x - 320, y - 140) > 95
    assert np.abs(back - GREY)[around].max() <= 2
    share = canvas.take(free, (500, 300))[..., 0]
    assert np.array_equal(share[inside | around] > 127, around[inside | around])
