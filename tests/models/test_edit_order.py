"""How large the result of an edit is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.parts.edit_order import framed, result_size
from models.parts.sizes import crop


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        ((640, 480), (None, None), (640, 480)),
        ((2048, 256), (None, None), (2048, 256)),
        ((4096, 3072), (None, None), (2048, 1536)),
        ((64, 128), (None, None), (256, 512)),
        ((4096, 64), (None, None), (2048, 32)),
        ((1, 1), (None, None), (256, 256)),
        ((640, 480), (300, 700), (300, 700)),
        ((640, 480), (1024, None), (1024, 768)),
        ((640, 480), (None, 960), (1280, 960)),
        ((100, 4000), (1024, None), (1024, 2048)),
        ((100, 4000), (None, 1024), (256, 1024)),
    ],
)
def test_the_size_of_a_result(
    own: tuple[int, int], asked: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    assert result_size(own, *asked) == expected


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (64, 31)])
def test_a_frame_comes_off_again(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8))
    wide = framed(picture, 32)
    assert wide.width % 32 == wide.height % 32 == 0
    assert np.array_equal(np.asarray(crop(wide, *size)), np.asarray(picture))
    assert wide.getpixel((0, 0)) == picture.getpixel((0, 0))
