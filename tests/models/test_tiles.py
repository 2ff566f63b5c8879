"""Overlapping tiles: they cover everything, and leave no seams."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.parts.pictures import Pixels
from models.parts.tiles import Grid, enlarged, whole


def repeated(scale: int) -> Callable[[Pixels], Pixels]:
    return lambda part: part.repeat(scale, axis=0).repeat(scale, axis=1)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    tile=st.integers(4, 40),
    share=st.floats(0, 0.5),
    scale=st.sampled_from([1, 2, 4]),
)
def test_work_that_looks_at_single_pixels_is_the_same_in_tiles(
    width: int, height: int, tile: int, share: float, scale: int
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    grid = Grid(width, height, tile, int(share * tile))
    calls: list[tuple[int, ...]] = []

    def work(part: Pixels) -> Pixels:
        calls.append(part.shape)
        return repeated(scale)(part)

    made = whole(enlarged(picture, scale, grid, work))
    assert np.array_equal(made, repeated(scale)(picture))
    assert len(calls) == grid.count
    assert all(h == min(tile, height) and w == min(tile, width) for h, w, _ in calls)


def test_neighbours_share_their_overlap() -> None:
    grid = Grid(1000, 130, 128, 32)
    for starts, length in ((grid.lefts, 1000), (grid.tops, 130)):
        assert starts[0] == 0
        assert starts[-1] == length - 128
        assert all(b - a <= 96 for a, b in itertools.pairwise(starts))


def test_tiles_that_disagree_fade_into_each_other() -> None:
    picture = np.zeros((64, 300, 3), np.uint8)
    levels = iter(range(0, 250, 60))
    grid = Grid(300, 64, 100, 40)
    made = whole(enlarged(picture, 1, grid, lambda part: np.full_like(part, next(levels))))
    line = made[30, :, 0].astype(int)
    assert np.abs(np.diff(line)).max() <= 3
    assert (line[0], line[-1]) == (0, 60 * (grid.count - 1))
    assert (made == made[:1]).all()


def test_a_filter_leaves_no_seam_where_the_overlap_holds_its_reach() -> None:
    random = np.random.default_rng(2)
    picture = random.integers(0, 256, (150, 170, 3), np.uint8)

    def work(part: Pixels) -> Pixels:
        size = (part.shape[1] * 4, part.shape[0] * 4)
        return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC))

    made = whole(enlarged(picture, 4, Grid(170, 150, 64, 16), work)).astype(int)
    off = np.abs(made - work(picture))
    # Where a tile ends, its last pixels lack their neighbours; they hardly count in the fade.
    assert off.mean() < 0.2
    assert off.max() < 25


@pytest.mark.parametrize("overlap", [-1, 33])
def test_an_overlap_that_cannot_be_is_a_slip(overlap: int) -> None:
    with pytest.raises(ValueError, match="cannot overlap"):
        Grid(100, 100, 64, overlap)


def test_a_tile_of_the_wrong_size_is_a_slip() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(ValueError, match="instead of"):
        whole(enlarged(picture, 2, Grid(10, 10, 64, 8), lambda part: part))
