"""Valid pictures, damaged at random: whatever comes out of it is one of the farm's errors."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from farm.cards import InputSpec
from farm.errors import InvalidRequest, UnreadableImage
from farm.intake.pictures import read_picture
from farm.types import Picture
from tests.farm.intake import picture_parts as parts

SPECS = (InputSpec(side_max=256), InputSpec(side_max=256, kind="mask"))


def _samples() -> tuple[bytes, ...]:
    rgba = Image.new("RGBA", (20, 15), (9, 99, 199, 120))
    options = {"exif": b"Exif\0\0" + parts.exif(6), "icc_profile": parts.wide_gamut()}
    return (
        parts.jpeg(**options),
        parts.jpeg(progressive=True),
        parts.saved(parts.quadrants().convert("CMYK"), "JPEG", icc_profile=parts.inks()),
        parts.saved(parts.quadrants(), "PNG", **options),
        parts.saved(parts.quadrants().quantize(4), "PNG", transparency=b"\1\2\3"),
        parts.saved(Image.new("LA", (9, 9), (64, 3)), "PNG", icc_profile=parts.linear_grey()),
        parts.saved(rgba, "WEBP", lossless=True, **options),
        parts.saved(rgba, "WEBP", quality=50),
        parts.animation(1),
    )


SAMPLES = _samples()


def _sealed(content: bytes) -> bytes:
    """A PNG with the checksums of its chunks put right, so that damage gets further in."""
    sealed, at = [content[:8]], 8
    while at + 12 <= len(content):
        length = min(int.from_bytes(content[at : at + 4], "big"), len(content) - at - 12)
        body = content[at + 4 : at + 8 + length]
        sealed.append(struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(sealed)


def _damaged(content: bytes, draw: random.Random) -> bytes:
    """One to four of: bytes overwritten, a bit turned, a stretch dropped or doubled, a marker."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) - 1)
        stop = at + draw.randint(1, 24)
        old = content[at:stop]
        new = draw.choice(
            (
                draw.randbytes(1) + old[1:],
                bytes((old[0] ^ 1 << draw.randrange(8),)) + old[1:],
                draw.choice((b"\xff" * 4, bytes(4))) + old[4:],
                old + old,
                draw.choice((b"\xff\xda", b"\xff\xd9", b"IDAT")) + old,
                b"",
            )
        )
        content = content[:at] + new + content[stop:]
    return _sealed(content) if content[1:4] == b"PNG" and draw.random() < 0.7 else content


def _read(content: bytes, spec: InputSpec) -> Picture | None:
    try:
        return read_picture(content, "image", spec)
    except (UnreadableImage, InvalidRequest):
        return None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(range(len(SAMPLES))), st.integers(0, 2**64 - 1))
def test_damaged_pictures_are_read_or_refused(which: int, seed: int) -> None:
    draw = random.Random(seed)
    spec = draw.choice(SPECS)
    picture = _read(_damaged(SAMPLES[which], draw), spec)
    if picture is not None:
        assert picture.mode in (("L",) if spec.kind == "mask" else ("RGB", "RGBA"))
        assert 1 <= picture.width <= spec.side_max
        assert 1 <= picture.height <= spec.side_max
        assert len(picture.data) > picture.width * picture.height * len(picture.mode)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBP", b"")),
    st.binary(),
)
def test_noise_is_refused(start: bytes, noise: bytes) -> None:
    with pytest.raises((UnreadableImage, InvalidRequest)):
        read_picture(start + noise, "image", SPECS[0])
