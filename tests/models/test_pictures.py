"""Pictures in and out of a job: reading, checking, and the PNG that is written in strips."""

from __future__ import annotations

import io
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from farm.errors import InvalidRequest
from farm.types import RunRequest
from models.parts.encoding import png_rows
from models.parts.pictures import (
    STRIP_ROWS,
    Rows,
    flattened,
    joined,
    open_input,
    open_mask,
    split,
)
from tests.contracts.edit_engine import tiff

Pixels = NDArray[np.uint8]


def job(**inputs: bytes) -> RunRequest:
    return RunRequest(uuid.uuid4(), 1, "model", "operation", {}, inputs)


def noise(seed: int, *shape: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_an_input_comes_back_as_it_was(shape: tuple[int, ...]) -> None:
    picture = noise(1, *shape)
    assert np.array_equal(open_input(job(image=tiff(picture)), "image"), picture)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_only_what_intake_wrote_is_opened(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, kind)
    with pytest.raises(OSError, match="cannot identify"):
        open_input(job(image=buffer.getvalue()), "image")


def test_a_mask_is_black_and_white_and_may_be_missing() -> None:
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    mask = open_mask(job(mask=tiff(grey)), "mask", (4, 1))
    assert mask is not None
    assert mask.tolist() == [[0, 0, 255, 255]]
    assert open_mask(job(), "mask", (4, 1)) is None


@pytest.mark.parametrize(
    ("mask", "words"),
    [(np.full((2, 3), 255), "must be 4x1 like the image, got 3x2"), (np.zeros((1, 4)), "black")],
)
def test_a_mask_that_does_not_fit_is_refused(mask: NDArray[Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        open_mask(job(mask=tiff(mask.astype(np.uint8))), "mask", (4, 1))
    assert [error.field for error in caught.value.errors] == ["mask"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_colours_and_alpha_are_split_and_joined(mode: str) -> None:
    image = Image.fromarray(noise(2, 6, 5, 4)).convert(mode)
    colours, alpha = split(image)
    assert colours.shape == (6, 5, 3)
    assert (alpha is None) == (mode != "RGBA")
    expected = image if mode == "RGBA" else image.convert("RGB")
    assert np.array_equal(joined(colours, alpha), expected)


def test_what_is_clear_is_flattened_to_grey() -> None:
    colours = np.full((1, 3, 3), 200, np.uint8)
    alpha = np.array([[0, 128, 255]], np.uint8)
    assert flattened(colours, alpha)[0, :, 0].tolist() == [128, 164, 200]
    assert flattened(colours, None) is colours


def pieces(picture: Pixels, heights: list[int]) -> Iterator[Pixels]:
    top = 0
    for height in (*heights, len(picture)):
        if top < len(picture):
            yield picture[top : top + height]
            top += height


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    channels=st.sampled_from([3, 4]),
    smooth=st.booleans(),
    heights=st.lists(st.integers(1, 9), max_size=6),
)
def test_a_png_of_strips_is_the_picture(
    width: int, height: int, channels: int, smooth: bool, heights: list[int]
) -> None:
    picture = noise(3, height, width, channels)
    if smooth:
        picture = (np.indices(picture.shape).sum(axis=0) * 3).astype(np.uint8)
    rows = Rows(width, height, channels, pieces(picture, heights))
    data = png_rows(rows, {"model": "a model", "seed": 7, "note": "naïve"})
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        assert image.mode == ("RGB" if channels == 3 else "RGBA")
        assert np.array_equal(image, picture)
        assert image.info == {"model": "a model", "seed": "7", "note": "naïve"}


def test_a_png_of_a_photograph_is_no_larger_than_pillows() -> None:
    y, x = np.mgrid[0:300, 0:400]
    hills = 120 + 60 * np.sin(x / 40) + 50 * np.cos(y / 30)
    soft = np.random.default_rng(4).normal(0, 3, (300, 400, 3))
    picture = np.clip(hills[..., None] + soft, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    assert len(png_rows(Rows.of(picture), {})) < 1.05 * len(buffer.getvalue())


def test_rows_of_a_picture_are_strips_of_it() -> None:
    picture = noise(5, STRIP_ROWS + 3, 4, 3)
    rows = Rows.of(picture)
    assert (rows.width, rows.height, rows.channels) == (4, STRIP_ROWS + 3, 3)
    assert [len(strip) for strip in rows.strips] == [STRIP_ROWS, 3]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (Rows(4, 3, 3, iter([noise(6, 2, 4, 3)])), "2 rows came instead of 3"),
        (Rows(4, 2, 3, iter([noise(6, 2, 5, 3)])), "is not part of the picture"),
        (Rows(4, 2, 3, iter([noise(6, 2, 4, 4)])), "is not part of the picture"),
    ],
)
def test_strips_that_are_not_the_picture_are_a_slip(rows: Rows, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        png_rows(rows, {})


def test_every_chunk_of_a_png_has_its_checksum() -> None:
    data = png_rows(Rows.of(noise(7, 3, 3, 3)), {"k": "v"})
    place, names = 8, []
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        name, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        checksum = int.from_bytes(data[place + 8 + length : place + 12 + length], "big")
        assert zlib.crc32(name + body) == checksum
        names.append(name)
        place += 12 + length
    assert names[:2] == [b"IHDR", b"tEXt"]
    assert names[-1] == b"IEND"
