"""Uploads that somebody sends sooner or later, out of malice or out of an old camera.

Each says what must become of it. ``ok`` means that it is taken, and how its pixels look;
the others are the errors that intake raises.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

from PIL import Image

from tests.farm.intake import picture_parts as parts
from tests.farm.intake.picture_cases import HostilePicture, invalid, ok, shows, unreadable
from tests.farm.intake.picture_insides import INSIDES
from tests.farm.intake.picture_parts import chunk, riff, riff_chunk

__all__ = ["HOSTILE", "HostilePicture"]

BYTES_MAX = 10 * 1024 * 1024


def _is(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _cut(make: Callable[[], bytes], at: float) -> Callable[[], bytes]:
    """The first part of a file: ``at`` bytes, or that share of it, or so many less than all."""

    def content() -> bytes:
        data = make()
        return data[: int(at * len(data)) if 0 < at < 1 else int(at)]

    return content


def _filled(data: bytes, size: int) -> bytes:
    return data + bytes(size - len(data))


def _with_chunk_of(size: int) -> bytes:
    """A PNG of exactly this many bytes, most of them in a chunk that means nothing."""
    rest = len(parts.png_with(chunk(b"juNk")))
    return parts.png_with(chunk(b"juNk", bytes(size - rest)))


def _random(size: int, start: bytes = b"") -> bytes:
    return start + random.Random(size).randbytes(size)


def _large(side: int, kind: str) -> bytes:
    options = {"compress_level": 1} if kind == "PNG" else {}
    return parts.saved(Image.new("1" if kind == "PNG" else "L", (side, side), 1), kind, **options)


_CUTS = tuple(
    unreadable(f"{name} cut at {at}", _cut(make, at))
    for name, make, places in (
        ("png", parts.png, (1, 8, 11, 20, 29, 33, 37, 0.5, 0.9, -12, -1)),
        ("jpeg", parts.jpeg, (2, 3, 4, 20, 100, 0.5, 0.9, -2, -1)),
        ("webp", parts.webp, (4, 12, 16, 24, 0.5, -2)),
    )
    for at in places
)

_SIZES = (
    invalid("png of 60,000x60,000", lambda: parts.png_of(parts.ihdr(60_000, 60_000))),
    invalid("png of 2^31-1 squared", lambda: parts.png_of(parts.ihdr(2**31 - 1, 2**31 - 1))),
    invalid("jpeg of 60,000x60,000", lambda: parts.jpeg_sized(60_000, 60_000)),
    invalid("webp of 60,000x60,000", lambda: riff(parts.vp8x(60_000, 60_000))),
    invalid("webp of 2^24 squared", lambda: riff(parts.vp8x(2**24, 2**24))),
    invalid(
        "lossless webp of 16,384x16,384",
        lambda: riff(riff_chunk(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9))),
    ),
    invalid(
        "lossy webp of 16,383x16,383",
        lambda: riff(riff_chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(9))),
    ),
    invalid("png of 0x0", lambda: parts.png_of(parts.ihdr(0, 0))),
    invalid("jpeg of no height", lambda: parts.jpeg_sized(48, 0)),
    invalid("png of 4097x1", lambda: parts.saved(Image.new("RGB", (4097, 1)), "PNG")),
    invalid("jpeg of 1x4097", lambda: parts.saved(Image.new("RGB", (1, 4097)), "JPEG")),
    invalid("webp of 4097x4097", lambda: riff(parts.vp8x(4097, 4097))),
    ok(
        "png of 4096x4096",
        lambda: _large(4096, "PNG"),
        shows((255, 255, 255), size=(4096, 4096)),
    ),
    ok("jpeg of 4096x4096", lambda: _large(4096, "JPEG"), shows((1, 1, 1), size=(4096, 4096))),
    *(
        ok(
            f"{kind.lower()} of 1x1",
            functools.partial(parts.saved, Image.new("RGB", (1, 1), (9, 99, 199)), kind),
            shows((9, 99, 199), size=(1, 1)),
        )
        for kind in ("PNG", "JPEG", "WEBP")
    ),
    ok("10 MB jpeg", lambda: _filled(parts.jpeg(), BYTES_MAX)),
    ok("10 MB png", lambda: _with_chunk_of(BYTES_MAX)),
    HostilePicture(
        "10 MB and a byte of jpeg", lambda: _filled(parts.jpeg(), BYTES_MAX + 1), "too_large"
    ),
    HostilePicture("10 MB and a byte of png", lambda: _with_chunk_of(BYTES_MAX + 1), "too_large"),
    HostilePicture("10 MB and a byte of nothing", lambda: bytes(BYTES_MAX + 1), "too_large"),
)

_OTHER_KINDS = (
    unreadable("empty file", _is(b"")),
    unreadable("one byte", _is(b"\xff")),
    unreadable("only zeros", _is(bytes(4096))),
    unreadable("random bytes", lambda: _random(4096)),
    unreadable("a megabyte of random bytes", lambda: _random(1 << 20)),
    *(
        unreadable(
            f"{kind.lower()} picture", functools.partial(parts.saved, parts.quadrants(), kind)
        )
        for kind in ("GIF", "TIFF", "BMP", "EPS", "PDF", "ICO", "AVIF", "JPEG2000", "PPM", "TGA")
    ),
    unreadable("svg", _is(b'<svg xmlns="http://www.w3.org/2000/svg" width="9"/>')),
    unreadable("svg with a prologue", _is(b'<?xml version="1.0"?>\n<!-- x -->\n<svg></svg>')),
    unreadable(
        "svg that reads a file",
        _is(b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'),
    ),
    unreadable("html", _is(b"\n<!DOCTYPE html><title>Not found</title>")),
    unreadable("heic", _is(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))),
    unreadable("mp4", _is(b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(99))),
    unreadable("jpeg xl", _is(b"\xff\x0a" + bytes(99))),
    unreadable("photoshop", _is(b"8BPS\0\1" + bytes(99))),
    unreadable("zip", _is(b"PK\3\4" + bytes(99))),
    unreadable("wave sound in the same envelope as webp", _is(b"RIFF\x40\0\0\0WAVE" + bytes(60))),
    unreadable("base64 text", _is(b"data:image/png;base64,iVBORw0KGgo=")),
    unreadable("words", _is(b"This is not a picture." * 9)),
    unreadable("png signature, then html", _is(b"\x89PNG\r\n\x1a\n<html></html>" + bytes(99))),
    unreadable("jpeg start, then noise", lambda: _random(100_000, b"\xff\xd8\xff")),
    unreadable("jpeg start, then 0xFF for ever", _is(b"\xff\xd8" + b"\xff" * 100_000)),
    unreadable("riff webp, then noise", lambda: riff(_random(4000))),
)

_TURNED = tuple(
    ok(
        f"{kind.lower()} turned by exif {number}",
        functools.partial(make, number),
    )
    for kind, make in (
        (
            "JPEG",
            lambda number: parts.saved(
                parts.stored_turned(number),
                "JPEG",
                quality=95,
                subsampling=0,
                exif=b"Exif\0\0" + parts.exif(number, "<" if number % 2 else ">"),
            ),
        ),
        (
            "PNG",
            lambda number: parts.saved(parts.stored_turned(number), "PNG", exif=parts.exif(number)),
        ),
        (
            "WEBP",
            lambda number: parts.saved(
                parts.stored_turned(number), "WEBP", lossless=True, exif=parts.exif(number)
            ),
        ),
    )
    for number in range(1, 9)
)

HOSTILE: tuple[HostilePicture, ...] = (*_CUTS, *_SIZES, *_OTHER_KINDS, *_TURNED, *INSIDES)
