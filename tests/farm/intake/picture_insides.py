"""Hostile uploads that are JPEG, PNG or WebP by their first bytes, and odd further in."""

from __future__ import annotations

import functools
import struct
import zlib

from PIL import Image

from tests.farm.intake import picture_parts as parts
from tests.farm.intake.picture_cases import HostilePicture, invalid, ok, shows, unreadable
from tests.farm.intake.picture_parts import (
    QUADRANTS,
    SIZE,
    chunk,
    ihdr,
    png_of,
    png_rows,
    png_with,
    riff,
    riff_chunk,
    segment,
)

_ACTL = chunk(b"acTL", struct.pack(">II", 2, 0))
_FCTL = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, *SIZE, 0, 0, 1, 10, 0, 0))


def _apng() -> bytes:
    image = parts.quadrants()
    frames = [Image.new("RGB", SIZE, (number, 0, 0)) for number in range(30)]
    return parts.saved(image, "PNG", save_all=True, append_images=frames)


def _bytewise_png() -> bytes:
    pixels = parts.png_pixels()
    return png_of(ihdr(*SIZE), *(chunk(b"IDAT", bytes((one,))) for one in pixels))


def _interlaced_png() -> bytes:
    """Two by two pixels in the three passes that they fill (Adam7)."""
    first, second, third, fourth = (bytes(colour) for colour in QUADRANTS)
    body = zlib.compress(b"\0" + first + b"\0" + second + b"\0" + third + fourth)
    return png_of(ihdr(2, 2, interlace=1), chunk(b"IDAT", body))


def _iccp(profile: bytes, packed: bytes | None = None) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + (zlib.compress(profile) if packed is None else packed))


def _bomb_of_texts(count: int) -> bytes:
    text = chunk(b"zTXt", b"a\0\0" + parts.zeros(2))
    return png_with(*[text] * count)


def _words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


_small = functools.partial(shows, size=(2, 2), off=0)
_RED = b"\xe6\x1e\x1e"

_PNG: tuple[HostilePicture, ...] = (
    unreadable(
        "png with a wrong checksum of its header",
        lambda: png_of(chunk(b"IHDR", parts.png()[16:29], checksum=1)),
    ),
    unreadable(
        "png with a wrong checksum of its pixels",
        lambda: png_of(ihdr(*SIZE), chunk(b"IDAT", parts.png_pixels(), checksum=1)),
    ),
    ok(
        "png with a wrong checksum of a comment",
        lambda: png_with(chunk(b"tEXt", b"Comment\0hello", checksum=1)),
    ),
    unreadable("png without pixels", lambda: png_of(ihdr(*SIZE))),
    ok(
        "png whose pixels end halfway down",
        lambda: png_of(ihdr(2, 2), chunk(b"IDAT", zlib.compress(b"\0" + _RED * 2))),
        shows(*[(230, 30, 30)] * 2, *[(0, 0, 0)] * 2, size=(2, 2), off=0),
    ),
    unreadable("png with noise for pixels", lambda: png_of(ihdr(*SIZE), chunk(b"IDAT", b"?" * 99))),
    ok(
        "png with 100 MB of pixels for four",
        lambda: png_of(ihdr(2, 2), chunk(b"IDAT", parts.zeros(100))),
        _small((0, 0, 0)),
    ),
    unreadable("png of 3 bits", lambda: png_of(ihdr(2, 2, depth=3), chunk(b"IDAT", b"x"))),
    unreadable("png of colour type 5", lambda: png_of(ihdr(2, 2, colour=5), chunk(b"IDAT", b"x"))),
    unreadable("png without a palette", lambda: png_rows([b"\0\1", b"\1\0"], 2, 8, 3)),
    unreadable(
        "png with two palettes",
        lambda: png_rows([b"\0\0"] * 2, 2, 8, 3, *[chunk(b"PLTE", _RED)] * 2),
    ),
    unreadable(
        "png with a chunk of 4 GB",
        lambda: png_of(ihdr(*SIZE), b"\xff\xff\xff\xffIDAT" + bytes(99)),
    ),
    unreadable("png in 30,000 chunks", lambda: png_with(*[chunk(b"juNk")] * 30_000)),
    unreadable("png as Apple packs it into apps", lambda: png_of(chunk(b"CgBI", bytes(4)))),
    unreadable(
        "png with pixels of an animation and no header",
        lambda: png_of(chunk(b"fdAT", bytes(9))),
    ),
    ok("png in chunks of one byte", _bytewise_png),
    ok(
        "interlaced png",
        _interlaced_png,
        shows(*QUADRANTS, size=(2, 2), off=0),
    ),
    invalid("apng of 31 frames", _apng),
    invalid("apng of 2 frames that stops after one", lambda: png_with(_ACTL, _FCTL)),
    invalid(
        "apng that does not say so",
        lambda: png_with(chunk(b"fdAT", bytes(4) + parts.png_pixels()), after=True),
    ),
    ok(
        "apng of one frame",
        lambda: png_with(chunk(b"acTL", struct.pack(">II", 1, 0)), _FCTL),
    ),
    ok("png with animation control after its pixels", lambda: png_with(_ACTL, after=True)),
    ok(
        "grey png of 16 bits",
        lambda: png_rows([_words(0, 65_535), _words(32_768, 300)], 2, 16, 0),
        shows((0, 0, 0), (255, 255, 255), (128, 128, 128), (1, 1, 1), size=(2, 2), off=0),
    ),
    ok(
        "rgb png of 16 bits",
        lambda: png_rows([_words(59_000, 7_700, 7_700) * 2] * 2, 2, 16, 2),
        _small((230, 30, 30)),
    ),
    ok(
        "rgb png of 16 bits with a transparent colour",
        lambda: png_rows(
            [_words(59_000, 7_700, 7_700) * 2] * 2, 2, 16, 2, chunk(b"tRNS", _words(1, 1, 1))
        ),
        _small((230, 30, 30)),
    ),
    ok(
        "rgba png of 16 bits",
        lambda: png_rows([_words(59_000, 7_700, 7_700, 32_900) * 2] * 2, 2, 16, 6),
        _small((230, 30, 30, 128), mode="RGBA"),
    ),
    ok(
        "grey png of 16 bits with alpha",
        lambda: png_rows([_words(25_700, 32_900) * 2] * 2, 2, 16, 4),
        _small((100, 100, 100, 128), mode="RGBA"),
    ),
    ok(
        "grey png with alpha",
        lambda: png_rows([b"\x64\x80" * 2] * 2, 2, 8, 4),
        _small((100, 100, 100, 128), mode="RGBA"),
    ),
    ok(
        "png of 1 bit",
        lambda: png_rows([b"\x80", b"\x40"], 2, 1, 0),
        shows(*[(255,) * 3, (0,) * 3, (0,) * 3, (255,) * 3], size=(2, 2), off=0),
    ),
    ok(
        "grey png of 2 bits, one of them transparent",
        lambda: png_rows([b"\x70", b"\x70"], 2, 2, 0, chunk(b"tRNS", _words(3))),
        shows(*[(85, 85, 85, 255), (255, 255, 255, 0)] * 2, mode="RGBA", size=(2, 2), off=0),
    ),
    ok(
        "palette with alpha",
        lambda: png_rows(
            [b"\0\1"] * 2, 2, 8, 3, chunk(b"PLTE", _RED + b"\1\2\3"), chunk(b"tRNS", b"\x40")
        ),
        shows(*[(230, 30, 30, 64), (1, 2, 3, 255)] * 2, mode="RGBA", size=(2, 2), off=0),
    ),
    ok(
        "palette too short for its pixels",
        lambda: png_rows([b"\0\0", b"\0\xff"], 2, 8, 3, chunk(b"PLTE", _RED)),
        shows(*[(230, 30, 30)] * 3, (0, 0, 0), size=(2, 2), off=0),
    ),
    ok(
        "rgb png with a transparent colour",
        lambda: png_rows([_RED + b"\1\2\3"] * 2, 2, 8, 2, chunk(b"tRNS", _words(1, 2, 3))),
        shows(*[(230, 30, 30, 255), (1, 2, 3, 0)] * 2, mode="RGBA", size=(2, 2), off=0),
    ),
    unreadable(
        "rgb png with half a transparent colour",
        lambda: png_rows([_RED * 2] * 2, 2, 8, 2, chunk(b"tRNS", b"\1")),
    ),
    ok(
        "rgba png in which nothing is transparent",
        lambda: png_rows([(_RED + b"\xff") * 2] * 2, 2, 8, 6),
        _small((230, 30, 30)),
    ),
    ok("png with a profile that is a bomb", lambda: png_with(_iccp(b"", parts.zeros(100)))),
    ok("png with a profile that is noise", lambda: png_with(_iccp(b"", b"noise" * 9))),
    ok(
        "png with a comment that is a bomb",
        lambda: png_with(chunk(b"zTXt", b"a\0\0" + parts.zeros(100))),
    ),
    ok("png with 2,000 comments that are bombs", lambda: _bomb_of_texts(2_000)),
    ok(
        "png with a bomb behind its pixels",
        lambda: png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + parts.zeros(100)), after=True),
    ),
    ok(
        "png with exif that is a bomb",
        lambda: png_with(chunk(b"eXIf", parts.exif_bomb(32_000, 9_000_000))),
    ),
    ok("png with 5 MB of html behind it", lambda: parts.png() + b"<script>" * 650_000),
)

_JPEG: tuple[HostilePicture, ...] = (
    ok(
        "cmyk jpeg of Adobe's",
        lambda: parts.saved(parts.quadrants().convert("CMYK"), "JPEG", quality=95),
        shows(off=20),
    ),
    ok("cmyk jpeg, not of Adobe's", parts.plain_cmyk, shows(off=20)),
    ok(
        "cmyk jpeg with a profile",
        lambda: parts.saved(
            Image.new("CMYK", SIZE, (255, 0, 0, 0)), "JPEG", icc_profile=parts.inks()
        ),
        shows((189, 189, 189)),
    ),
    ok(
        "grey jpeg",
        lambda: parts.saved(Image.new("L", SIZE, 77), "JPEG"),
        shows((77, 77, 77)),
    ),
    ok("progressive jpeg", lambda: parts.jpeg(progressive=True)),
    ok("jpeg that stores rgb", lambda: parts.jpeg(keep_rgb=True)),
    ok("jpeg with restart markers", lambda: parts.jpeg(restart_marker_blocks=1)),
    ok(
        "large progressive jpeg in 90 scans",
        lambda: parts.scans(80, (2048, 2048)),
        shows(size=(2048, 2048)),
    ),
    unreadable("large progressive jpeg in 5,000 scans", lambda: parts.scans(5_000, (2048, 2048))),
    unreadable("arithmetic jpeg", lambda: parts.jpeg_frame(0xC9)),
    unreadable("lossless jpeg", lambda: parts.jpeg_frame(0xC3)),
    unreadable("hierarchical jpeg", lambda: parts.jpeg_frame(0xC5)),
    unreadable("jpeg of 12 bits", lambda: parts.jpeg_frame(0xC1, precision=12)),
    unreadable(
        "jpeg with two frames",
        lambda: parts.jpeg_with(segment(0xC0, b"\x08\0\x20\0\x30\3\1\x11\0\2\x11\1\3\x11\1")),
    ),
    unreadable("jpeg with a segment of no length", lambda: parts.jpeg_with(b"\xff\xe5\0\0")),
    unreadable("jpeg that ends before it begins", lambda: parts.jpeg_with(b"\xff\xd9")),
    unreadable("jpeg of nothing but comments", lambda: b"\xff\xd8" + segment(0xFE, b"x") * 30_000),
    unreadable(
        "jpeg with 5 MB of tables", lambda: parts.jpeg_with(*[segment(0xDB, bytes(65_000))] * 80)
    ),
    unreadable("jpeg without tables", lambda: parts.jpeg().replace(b"\xff\xdb", b"\xff\xe9")),
    ok(
        "jpeg with junk between its segments",
        lambda: parts.jpeg_with(segment(0xFE, b"x"), b"\0\1\2\xff\xff\xff"),
    ),
    ok("jpeg with 5,000 comments", lambda: parts.jpeg_with(*[segment(0xFE, b"x" * 900)] * 5_000)),
    ok("jpeg with a web page inside", lambda: parts.jpeg_with(segment(0xFE, b"<html><script>"))),
    ok("jpeg with a ZIP behind it", lambda: parts.jpeg() + b"PK\3\4" + bytes(9_000)),
    ok("jpeg with another jpeg behind it", lambda: parts.jpeg() + parts.jpeg_sized(60_000, 60_000)),
    ok(
        "mpo of two pictures",
        lambda: parts.saved(
            parts.quadrants(),
            "MPO",
            save_all=True,
            append_images=[Image.new("RGB", SIZE)],
            quality=95,
            subsampling=0,
        ),
    ),
    ok("jpeg with exif orientation 0", lambda: parts.jpeg(exif=b"Exif\0\0" + parts.exif(0))),
    ok("jpeg with exif orientation 9", lambda: parts.jpeg(exif=b"Exif\0\0" + parts.exif(9))),
    ok("jpeg with half of its exif", lambda: parts.jpeg(exif=b"Exif\0\0" + parts.exif(6)[:12])),
    ok(
        "jpeg with exif that points far away",
        lambda: parts.jpeg(exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    ),
    ok(
        "jpeg with exif that is a bomb",
        lambda: parts.jpeg_with(segment(0xE1, b"Exif\0\0" + parts.exif_bomb(5_000, 65_000))),
    ),
    ok(
        "jpeg with 9 MB of exif",
        lambda: parts.jpeg_with(
            *[segment(0xE1, b"Exif\0\0" + parts.exif_bomb(5_000, 65_000))] * 140
        ),
    ),
    ok(
        "jpeg with 9 MB of a profile",
        lambda: parts.jpeg_with(*parts.jpeg_profile(bytes(9_000_000))),
    ),
    ok(
        "jpeg with a profile of which a piece is missing",
        lambda: parts.jpeg_with(*parts.jpeg_profile(parts.wide_gamut(), total=3)),
    ),
)

_COLOURS: tuple[HostilePicture, ...] = (
    *(
        ok(
            f"{kind.lower()} in a wide gamut",
            functools.partial(
                parts.saved,
                Image.new("RGB", SIZE, (200, 100, 50)),
                kind,
                icc_profile=parts.wide_gamut(),
            ),
            shows((216, 93, 24), off=4),
        )
        for kind in ("JPEG", "PNG", "WEBP")
    ),
    ok(
        "png with a profile of 200,000 steps",
        lambda: parts.saved(
            Image.new("RGB", SIZE, (200, 100, 50)), "PNG", icc_profile=parts.slow_profile(200_000)
        ),
        shows((216, 93, 24), off=4),
    ),
    ok("jpeg with a profile that is noise", lambda: parts.jpeg(icc_profile=b"noise" * 99)),
    ok("jpeg with half a profile", lambda: parts.jpeg(icc_profile=parts.wide_gamut()[:200])),
    ok("jpeg with a profile of inks", lambda: parts.jpeg(icc_profile=parts.inks())),
    ok(
        "grey png with a profile of greys",
        lambda: parts.saved(Image.new("L", SIZE, 64), "PNG", icc_profile=parts.linear_grey()),
        shows((137, 137, 137), off=2),
    ),
    ok(
        "grey png with alpha and a profile of greys",
        lambda: parts.saved(Image.new("LA", SIZE, (64, 9)), "PNG", icc_profile=parts.linear_grey()),
        shows((137, 137, 137, 9), mode="RGBA", off=2),
    ),
    ok(
        "rgba png in a wide gamut",
        lambda: parts.saved(
            Image.new("RGBA", SIZE, (200, 100, 50, 7)), "PNG", icc_profile=parts.wide_gamut()
        ),
        shows((216, 93, 24, 7), mode="RGBA", off=4),
    ),
)

_WEBP: tuple[HostilePicture, ...] = (
    invalid("webp of 5,000 frames", lambda: parts.animation(5_000)),
    invalid("webp of 2 frames", lambda: parts.animation(2)),
    ok("webp of 1 frame", lambda: parts.animation(1), shows(off=30)),
    unreadable(
        "webp of 30,000 chunks",
        lambda: riff(parts.vp8x(*SIZE), *[riff_chunk(b"JUNK", b"")] * 30_000),
    ),
    unreadable("webp without a picture", lambda: riff(parts.vp8x(*SIZE))),
    unreadable(
        "webp whose headers differ in size",
        lambda: riff(parts.vp8x(4000, 4000), parts.webp_chunks(parts.webp())),
    ),
    unreadable(
        "webp that says it is 4 GB", lambda: riff(parts.webp_chunks(parts.webp()), length=2**32 - 2)
    ),
    unreadable(
        "webp with noise for pixels",
        lambda: riff(riff_chunk(b"VP8L", b"\x2f\x2f\xc0\x07\0" + b"?" * 99)),
    ),
    ok(
        "lossless webp with alpha",
        lambda: parts.saved(Image.new("RGBA", SIZE, (9, 99, 199, 50)), "WEBP", lossless=True),
        shows((9, 99, 199, 50), mode="RGBA", off=0),
    ),
    ok(
        "lossy webp with alpha",
        lambda: parts.saved(Image.new("RGBA", SIZE, (9, 99, 199, 50)), "WEBP"),
        shows((9, 99, 199, 50), mode="RGBA"),
    ),
    ok("webp with 5 MB behind it", lambda: parts.webp(lossless=True) + bytes(5_000_000)),
    ok(
        "webp with exif that is a bomb",
        lambda: riff(
            parts.vp8x(*SIZE, flags=8),
            parts.webp_chunks(parts.webp(lossless=True)),
            riff_chunk(b"EXIF", parts.exif_bomb(32_000, 9_000_000)),
        ),
    ),
)

INSIDES: tuple[HostilePicture, ...] = (*_PNG, *_JPEG, *_COLOURS, *_WEBP)
