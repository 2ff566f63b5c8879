"""Finished pictures as files: the formats, what is said in them, and what they cannot hold."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from farm.errors import InvalidRequest
from farm.types import Artifact
from models.parts import encoding
from models.parts.pictures import Rows

TEXT = {"model": "flux-2", "seed": 7, "job_id": "né"}


def made(picture: NDArray[np.uint8], form: str) -> Artifact:
    return encoding.picture(Rows.of(picture), form, TEXT, {"seed": 7})


def soft(channels: int = 3) -> NDArray[np.uint8]:
    """A picture of 40 x 300 in which nothing is abrupt."""
    y, x = np.mgrid[0:300, 0:40]
    shades = [y * 255 // 299, x * 6, 255 - y * 255 // 299, np.where(x < 20, 0, 255)]
    return np.dstack(shades[:channels]).astype(np.uint8)


@pytest.mark.parametrize(
    ("form", "media_type", "extension"),
    [
        ("png", "image/png", "png"),
        ("jpeg", "image/jpeg", "jpg"),
        ("webp", "image/webp", "webp"),
    ],
)
def test_a_file_is_its_picture_and_says_what_made_it(
    form: str, media_type: str, extension: str
) -> None:
    artifact = made(soft(), form)
    kind = (artifact.media_type, artifact.extension, artifact.folder)
    assert kind == (media_type, extension, "images")
    assert artifact.facts == {"seed": 7, "width": 40, "height": 300}
    said: Any
    with Image.open(io.BytesIO(artifact.data), formats=[form]) as image:
        assert np.abs(np.asarray(image).astype(int) - soft()).mean() < 3
        if form == "png":
            said = image.info
        else:
            said = json.loads(image.getexif()[ExifTags.Base.ImageDescription])
    assert said == {"model": "flux-2", "seed": "7", "job_id": "né"}


def test_what_is_clear_lies_on_white_in_a_jpeg_and_stays_clear_in_the_others() -> None:
    for form in ("png", "webp", "jpeg"):
        with Image.open(io.BytesIO(made(soft(4), form).data), formats=[form]) as image:
            left = np.asarray(image)[:, 2:16]
            if form == "jpeg":
                assert image.mode == "RGB"
                assert left.min() > 250
            else:
                assert image.mode == "RGBA"
                assert left[..., 3].max() == 0


@pytest.mark.parametrize(
    ("form", "width", "height"),
    [("webp", 16_384, 1), ("webp", 12_000, 12_000), ("jpeg", 1, 65_536)],
)
def test_a_format_that_cannot_hold_the_picture_is_refused_before_it_is_made(
    form: str, width: int, height: int
) -> None:
    rows = Rows(width, height, 3, iter(()))
    with pytest.raises(InvalidRequest, match=f"{form} for a picture of {width}x{height}"):
        encoding.picture(rows, form, {}, {})


@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 5, 3), (3, 4, 4)])
def test_strips_that_are_not_the_picture_are_a_slip(shape: tuple[int, int, int]) -> None:
    rows = Rows(4, 3, 3, iter([np.zeros(shape, np.uint8)]))
    with pytest.raises(ValueError, match=r"rows came instead of 3|is not part of the picture"):
        encoding.picture(rows, "jpeg", {}, {})


def test_nothing_but_the_formats_on_offer_is_taken() -> None:
    assert encoding.read_format({}) == "png"
    assert encoding.read_format({"output_format": "webp"}) == "webp"
    for wanted, offered in (("gif", encoding.FORMATS), ("jpeg", ("png", "webp")), ([], ("png",))):
        with pytest.raises(InvalidRequest, match="output_format"):
            encoding.read_format({"output_format": wanted}, offered)
