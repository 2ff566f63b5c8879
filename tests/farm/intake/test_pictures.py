"""Pictures from anybody: taken and set right, or refused with a sentence."""

from __future__ import annotations

import io
import tempfile
import time

import pytest
from PIL import Image, ImageCms

from farm.cards import InputSpec
from farm.errors import (
    FarmError,
    InvalidRequest,
    StorageUnavailable,
    TooLarge,
    UnreadableImage,
)
from farm.intake.pictures import read_picture, same_size
from farm.types import Picture
from tests.farm.intake import picture_parts as parts
from tests.farm.intake.hostile_pictures import HOSTILE, HostilePicture

PICTURE = InputSpec()
MASK = InputSpec(kind="mask")
VERDICTS: dict[str, type[FarmError]] = {
    "unreadable": UnreadableImage,
    "invalid": InvalidRequest,
    "too_large": TooLarge,
}
LAYOUT_TAGS = {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 338}
"""What a TIFF needs to be read (TIFF 6.0 section 6), and nothing about where it came from."""


def opened(picture: Picture) -> Image.Image:
    """The pixels of a picture, as an engine gets them."""
    with Image.open(io.BytesIO(picture.data), formats=["TIFF"]) as image:
        image.load()
    assert (image.mode, *image.size) == (picture.mode, picture.width, picture.height)
    return image


def level(image: Image.Image, place: tuple[int, int]) -> float:
    """The one channel of a pixel."""
    found = image.getpixel(place)
    assert isinstance(found, int | float)
    return found


def check_bare(picture: Picture) -> None:
    """A picture's bytes hold its pixels and what says how to read them."""
    with Image.open(io.BytesIO(picture.data), formats=["TIFF"]) as image:
        assert set(image.tag_v2) <= LAYOUT_TAGS  # type: ignore[attr-defined]
        # Pillow makes the last two up where a file does not have them.
        assert set(image.info) <= {"compression", "dpi", "resolution"}
    pixels_bytes = picture.width * picture.height * len(picture.mode)
    assert pixels_bytes < len(picture.data) < pixels_bytes + 300 + picture.height * 8


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_each_hostile_upload_is_taken_or_refused_as_it_should(hostile: HostilePicture) -> None:
    content = hostile.content()
    began = time.monotonic()
    if hostile.expected == "ok":
        picture = read_picture(content, "photo", PICTURE)
        assert hostile.check is not None
        hostile.check(opened(picture))
        check_bare(picture)
    else:
        with pytest.raises(VERDICTS[hostile.expected]) as caught:
            read_picture(content, "photo", PICTURE)
        assert str(caught.value).startswith("photo: ")
        assert str(caught.value).endswith(".")
    assert time.monotonic() - began < 20


def test_there_are_many_of_them_and_each_has_its_name() -> None:
    assert len(HOSTILE) == len({hostile.name for hostile in HOSTILE}) >= 70


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"GIF89a" + bytes(9), "it is a GIF"),
        (b"MM\0*" + bytes(9), "it is a TIFF"),
        (b"%PDF-1.7", "it is a PDF"),
        (b"<!-- logo --> <SVG>", "it is an SVG"),
        (b"\0\0\0\x18ftypheic", "it is a HEIC picture"),
        (b"\0\0\0\x18ftypavif", "it is an AVIF picture"),
        (b"<html>", "it is an HTML page"),
        (b"%!PS-Adobe", "it is an EPS"),
        (b"lorem ipsum", "no kind of picture that is known here"),
    ],
)
def test_a_refusal_says_what_it_is_and_what_to_send(content: bytes, words: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        read_picture(content, "image", PICTURE)
    assert words in str(caught.value)
    assert str(caught.value).endswith("Send a JPEG, a PNG or a WebP.")


def test_a_side_too_long_is_named_with_the_limit_of_the_card() -> None:
    spec = InputSpec(side_max=100)
    assert read_picture(parts.saved(Image.new("RGB", (100, 1)), "PNG"), "image", spec).width == 100
    with pytest.raises(InvalidRequest, match=r"is 101x7 pixels\. A side must have 1 to 100"):
        read_picture(parts.saved(Image.new("RGB", (101, 7)), "PNG"), "image", spec)


def test_a_stream_is_read_like_bytes_and_no_further_than_the_limit() -> None:
    spec = InputSpec(bytes_max=5_000)
    with tempfile.SpooledTemporaryFile(max_size=10) as stream:
        stream.write(parts.png())
        stream.seek(0)
        assert read_picture(stream, "image", spec) == read_picture(parts.png(), "image", spec)
    endless = io.BytesIO(parts.png() + bytes(1_000_000))
    with pytest.raises(TooLarge, match="over the limit of 5,000 bytes"):
        read_picture(endless, "image", spec)
    assert endless.tell() <= 5_001


def test_a_stream_that_cannot_be_read_is_the_farms_trouble() -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(StorageUnavailable):
        read_picture(Gone(), "image", PICTURE)


def test_what_is_srgb_already_keeps_every_colour() -> None:
    ramp = Image.merge("RGB", [Image.linear_gradient("L").rotate(turn) for turn in (0, 90, 180)])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_picture(parts.saved(ramp, "PNG", icc_profile=profile), "image", PICTURE)
    assert opened(picture).tobytes() == ramp.tobytes()


@pytest.mark.parametrize(
    ("image", "level"),
    [
        (Image.new("L", (4, 4), 200), 200),
        (Image.new("1", (4, 4), 1), 255),
        (Image.new("RGB", (4, 4), (255, 0, 0)), 76),
        (Image.new("RGB", (4, 4), (0, 255, 0)), 150),
        (Image.new("RGBA", (4, 4), (255, 255, 255, 0)), 0),
        (Image.new("RGBA", (4, 4), (255, 255, 255, 51)), 51),
        (Image.new("LA", (4, 4), (128, 128)), 64),
        (Image.new("P", (4, 4), 0), 0),
    ],
)
def test_a_mask_is_brightness_on_black(image: Image.Image, level: int) -> None:
    picture = read_picture(parts.saved(image, "PNG"), "mask", MASK)
    assert picture.mode == "L"
    assert opened(picture).getextrema() == (level, level)
    check_bare(picture)


def test_a_mask_may_be_a_jpeg_of_inks_that_lies_on_its_side() -> None:
    inks = parts.stored_turned(6).convert("CMYK")
    content = parts.saved(inks, "JPEG", quality=95, exif=b"Exif\0\0" + parts.exif(6))
    mask = opened(read_picture(content, "mask", MASK))
    upright = parts.quadrants().convert("L")
    for place in ((9, 9), (39, 9), (9, 25), (39, 25)):
        assert abs(level(mask, place) - level(upright, place)) < 12


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_cut_mask_is_white_where_it_is_transparent(mode: str, kind: str) -> None:
    image = Image.new(mode, (4, 2), "white")
    for x, alpha in enumerate((0, 55, 200, 255)):
        image.putpixel((x, 1), (*(255,) * (len(mode) - 1), alpha))
    mask = read_picture(parts.saved(image, kind, lossless=True), "mask", MASK.cut_out())
    assert mask.mode == "L"
    assert [opened(mask).getpixel((x, 1)) for x in range(4)] == [255, 200, 55, 0]
    check_bare(mask)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_a_cut_mask_of_which_nothing_is_transparent_is_refused(mode: str) -> None:
    content = parts.saved(Image.new(mode, (4, 2), "white"), "PNG")
    with pytest.raises(InvalidRequest, match="mask: must be transparent where the image"):
        read_picture(content, "mask", MASK.cut_out())


def test_a_mask_must_be_as_large_as_the_image() -> None:
    wide, tall = Picture(b"", "L", 30, 20), Picture(b"", "L", 20, 30)
    same_size({"image": wide, "mask": wide})
    same_size({"image": wide})
    same_size({"mask": wide})
    with pytest.raises(InvalidRequest, match="mask: must be 20x30 like the image, got 30x20"):
        same_size({"image": tall, "mask": wide})
