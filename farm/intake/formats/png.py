"""PNG files: chunks (PNG, third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from farm.intake.formats import exif
from farm.intake.formats.base import PARTS_MAX, PROFILE_BYTES_MAX, Stripped, Upload

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR, _PALETTE = 0, 2, 3
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _COLOUR: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}
"""Bits that a sample may have, by colour type (section 11.2.1)."""


@dataclass(slots=True)
class _Found:
    palette: bytes | None = None
    transparency: bytes | None = None
    profile: bytes | None = None
    orientation: int = exif.UPRIGHT
    pixels: list[bytes] = field(default_factory=list)


def strip(upload: Upload) -> Stripped:
    """Header, palette, transparency and pixels of a PNG; the pixels in one chunk.

    Checksums are checked of what is kept; what is left out may be as broken as it likes.
    A single transparent colour of 16 bits is left out too: decoders that reduce samples to 8
    bits would make its neighbours transparent as well.

    Raises:
        InvalidRequest: a side is out of range, or it is an animation (APNG).
        UnreadableImage: it is damaged or cut off.
    """
    header = _header(upload)
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    found = _Found()
    for name, body in _chunks(upload):
        _take(upload, found, name, body)
    if not found.pixels:
        raise upload.damaged("it has no pixels")
    if colour == _PALETTE and found.palette is None:
        raise upload.damaged("its palette is missing")

    parts = [_SIGNATURE, *_chunk(b"IHDR", header)]
    if colour == _PALETTE and found.palette is not None:
        parts += _chunk(b"PLTE", found.palette)
    if found.transparency is not None and depth < 16:
        parts += _chunk(b"tRNS", _scaled(found.transparency, depth, colour))
    parts += [*_chunk(b"IDAT", *found.pixels), *_chunk(b"IEND")]
    return Stripped(b"".join(parts), width, height, found.orientation, found.profile)


def _header(upload: Upload) -> bytes:
    """The 13 bytes of IHDR, checked."""
    if upload.u32(8) != 13 or upload.part(12, 4) != b"IHDR":
        raise upload.damaged("it does not begin with its header")
    header = upload.part(16, 13)
    if zlib.crc32(b"IHDR" + header) != upload.u32(29):
        raise upload.damaged("the checksum of its header is wrong")
    width, height, depth, colour, compression, filters, interlace = struct.unpack(
        ">IIBBBBB", header
    )
    upload.check_size(width, height)
    if depth not in _DEPTHS.get(colour, ()) or compression or filters or interlace > 1:
        raise upload.damaged("its header says what the format does not know")
    return header


def _chunks(upload: Upload) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of what follows the header, up to the end. Checksums of those that matter
    have been checked."""
    start = 33
    for _ in range(PARTS_MAX):
        length, name = upload.u32(start), upload.part(start + 4, 4)
        if not name.isalpha():
            raise upload.damaged("one of its chunks has no name")
        body = upload.part(start + 8, length)
        checksum = upload.u32(start + 8 + length)
        if name == b"IEND":
            return
        if name in (b"PLTE", b"tRNS", b"IDAT") and zlib.crc32(body, zlib.crc32(name)) != checksum:
            raise upload.damaged("a checksum is wrong")
        yield name, body
        start += 12 + length
    raise upload.damaged("it is in more pieces than any program makes")


def _take(upload: Upload, found: _Found, name: bytes, body: bytes) -> None:
    if name == b"IDAT":
        found.pixels.append(body)
    elif name == b"PLTE":
        if found.palette is not None or not body or len(body) % 3 or len(body) > 768:
            raise upload.damaged("its palette is wrong")
        found.palette = body
    elif name == b"tRNS":
        found.transparency = body
    elif name == b"iCCP":
        found.profile = _profile(body)
    elif name == b"eXIf":
        found.orientation = exif.orientation(body)
    elif name == b"fdAT" or (name == b"acTL" and not found.pixels and body[:4] > b"\0\0\0\1"):
        # After the pixels an acTL means nothing (APNG 1.0); more pictures still would.
        raise upload.animated()


def _profile(body: bytes) -> bytes | None:
    """The ICC profile, or None where it cannot be unpacked or would be too large."""
    _, _, rest = body.partition(b"\0")
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(rest[1:], PROFILE_BYTES_MAX)
    except zlib.error:
        return None
    # A bomb ends here: what is over the limit was never unpacked.
    return profile if unpack.eof else None


def _scaled(transparency: bytes, depth: int, colour: int) -> bytes:
    """Pillow spreads greys of 2 and 4 bits over 0 to 255, and not the transparent one."""
    if colour != _GREY or depth not in (2, 4) or len(transparency) != 2:
        return transparency
    top = (1 << depth) - 1
    return ((transparency[1] & top) * 255 // top).to_bytes(2, "big")


def _chunk(name: bytes, *bodies: bytes) -> list[bytes]:
    checksum = zlib.crc32(name)
    for body in bodies:
        checksum = zlib.crc32(body, checksum)
    length = sum(len(body) for body in bodies)
    return [struct.pack(">I", length), name, *bodies, struct.pack(">I", checksum)]
