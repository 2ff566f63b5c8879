"""Picture files put together by hand: what no encoder would write, and what few can."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image

SIZE = (48, 32)
QUADRANTS = ((230, 30, 30), (30, 200, 40), (30, 50, 220), (240, 240, 240))
"""Upper left, upper right, lower left, lower right."""


def quadrants(size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture of four coloured quarters, which shows how it lies and what its colours are."""
    image = Image.new("RGB", (2, 2))
    image.putdata(QUADRANTS)
    return image.resize(size, Image.Resampling.NEAREST)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png() -> bytes:
    """The four quarters as an ordinary PNG."""
    return saved(quadrants(), "PNG")


def jpeg(**options: Any) -> bytes:
    """The four quarters as an ordinary JPEG."""
    return saved(quadrants(), "JPEG", quality=95, subsampling=0, **options)


def webp(**options: Any) -> bytes:
    """The four quarters as an ordinary WebP."""
    return saved(quadrants(), "WEBP", quality=95, **options)


# PNG


def chunk(name: bytes, body: bytes = b"", checksum: int | None = None) -> bytes:
    """A PNG chunk, with a wrong checksum where one is given."""
    checksum = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def ihdr(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """A PNG header chunk; colour 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png_of(*chunks: bytes) -> bytes:
    """A PNG of these chunks, and its end."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND")


def png_rows(
    rows: list[bytes], width: int, depth: int, colour: int, *extra: bytes, interlace: int = 0
) -> bytes:
    """A PNG of unfiltered rows of samples."""
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return png_of(ihdr(width, len(rows), depth, colour, interlace), *extra, chunk(b"IDAT", body))


def png_with(*extra: bytes, after: bool = False) -> bytes:
    """The four quarters with more chunks, before the pixels or ``after`` them."""
    header, pixels = png()[8:33], chunk(b"IDAT", png_pixels())
    return png_of(header, pixels, *extra) if after else png_of(header, *extra, pixels)


def png_pixels() -> bytes:
    """The compressed pixels of :func:`png`."""
    whole = png()
    start = whole.index(b"IDAT")
    return whole[start + 4 : start + 4 + int.from_bytes(whole[start - 4 : start], "big")]


@functools.cache
def zeros(megabytes: int) -> bytes:
    """That many compressed zeros: a thousandth of it in bytes."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join([*parts, packer.flush()])


# JPEG


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*segments: bytes, of: bytes | None = None) -> bytes:
    """A JPEG (the four quarters) with more segments right after its start."""
    of = jpeg() if of is None else of
    return of[:2] + b"".join(segments) + of[2:]


def frame_at(data: bytes) -> int:
    """Where the frame header of a JPEG begins (its 0xFF)."""
    return next(
        data.index(bytes((0xFF, code)))
        for code in (0xC0, 0xC2)
        if bytes((0xFF, code, 0, 17)) in data
    )


def jpeg_sized(width: int, height: int) -> bytes:
    """The four quarters, with another size in the header."""
    data = bytearray(jpeg())
    at = frame_at(bytes(data))
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_frame(marker: int, precision: int = 8) -> bytes:
    """The four quarters, said to be of another process or precision."""
    data = bytearray(jpeg())
    at = frame_at(bytes(data))
    data[at + 1], data[at + 4] = marker, precision
    return bytes(data)


def scans(count: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG whose last scan is repeated that many times."""
    data = saved(quadrants(size), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def jpeg_profile(profile: bytes, total: int | None = None) -> tuple[bytes, ...]:
    """A colour profile in as many JPEG segments as it needs (or says)."""
    pieces = [profile[at : at + 65_000] for at in range(0, len(profile), 65_000)]
    total = len(pieces) if total is None else total
    return tuple(
        segment(0xE2, b"ICC_PROFILE\0" + bytes((number, total)) + piece)
        for number, piece in enumerate(pieces, 1)
    )


def plain_cmyk() -> bytes:
    """A CMYK JPEG without Adobe's mark: its numbers are the other way round."""
    inks = quadrants().convert("CMYK").point(lambda ink: 255 - ink)
    data = saved(inks, "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


# WebP


def riff(*chunks: bytes, length: int | None = None) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def riff_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a WebP."""
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def vp8x(width: int, height: int, flags: int = 0) -> bytes:
    """An extended WebP header."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + sides)


def webp_chunks(data: bytes) -> bytes:
    """What stands in a WebP after its twelve bytes of header."""
    return data[12:]


def animation(frames: int) -> bytes:
    """A WebP of that many frames, all the same."""
    picture = webp_chunks(webp())
    place = bytes(6) + (SIZE[0] - 1).to_bytes(3, "little") + (SIZE[1] - 1).to_bytes(3, "little")
    frame = riff_chunk(b"ANMF", place + (40).to_bytes(3, "little") + b"\2" + picture)
    return riff(vp8x(*SIZE, flags=2), riff_chunk(b"ANIM", bytes(6)), *[frame] * frames)


# Exif and ICC


def exif(orientation: int, order: str = ">") -> bytes:
    """Exif data that says which side is up."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def exif_bomb(entries: int, span: int) -> bytes:
    """Exif data in which every entry claims the same ``span`` bytes: read on, it is entries
    times as large."""
    table = b"".join(struct.pack(">HHII", 0x8000 + number, 7, span, 8) for number in range(entries))
    body = b"MM\0*" + struct.pack(">IH", 8, entries) + table + bytes(4)
    return body + bytes(max(0, span + 8 - len(body)))


def stored_turned(orientation: int) -> Image.Image:
    """The four quarters as they lie in a file that this orientation sets upright."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = quadrants()
    return image.transpose(turn[orientation]) if orientation in turn else image


def _s15(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65_536)) for value in values)


def _profile(
    space: bytes,
    device: bytes,
    pcs: bytes,
    tags: Mapping[bytes, bytes],
    version: bytes = b"\x02\x40",
) -> bytes:
    """An ICC profile."""
    table, body = b"", b""
    for name, value in {b"wtpt": b"XYZ " + bytes(4) + _s15(0.9642, 1, 0.8249), **tags}.items():
        at = 132 + 12 * (len(tags) + 1) + len(body)
        table += name + struct.pack(">II", at, len(value))
        body += value + bytes(-len(value) % 4)
    head = bytes(4) + b"lcms" + version + b"\0\0" + device + space + pcs + bytes(12) + b"acsp"
    head += bytes(28) + _s15(0.9642, 1, 0.8249) + bytes(48)
    whole = head + struct.pack(">I", len(tags) + 1) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def wide_gamut() -> bytes:
    """A profile with the primaries of Display P3 and a gamma of 2.2."""
    return _wide_gamut(b"\x02\x40", {})


def _wide_gamut(version: bytes, more: Mapping[bytes, bytes]) -> bytes:
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    tags = {name: b"XYZ " + bytes(4) + _s15(*xyz) for name, xyz in primaries.items()}
    tags |= {name: _gamma(2.2) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"RGB ", b"mntr", b"XYZ ", tags | dict(more), version)


def slow_profile(steps: int) -> bytes:
    """A profile that also says: halve the colours, that many times over."""
    step = b"matf" + bytes(4) + struct.pack(">HH", 3, 3)
    step += struct.pack(">12f", 0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5, 0, 0, 0)
    head = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, steps)
    program = head + struct.pack(">II", 16 + 8 * steps, len(step)) * steps + step
    return _wide_gamut(b"\x04\x30", {b"D2B0": program, b"D2B1": program})


def linear_grey() -> bytes:
    """A profile of greys without gamma: in sRGB they are much lighter."""
    return _profile(b"GRAY", b"mntr", b"XYZ ", {b"kTRC": _gamma(1)})


def inks() -> bytes:
    """A CMYK profile in which every ink makes the same grey: all that counts is how much."""
    straight = bytes(range(256))
    grid = b"".join(bytes((255 - 60 * bin(inks).count("1"), 128, 128)) for inks in range(16))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + _s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return _profile(
        b"CMYK", b"prtr", b"Lab ", {b"A2B0": table + straight * 4 + grid + straight * 3}
    )
