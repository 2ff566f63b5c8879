"""WebP files: RIFF chunks (RFC 9649)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from farm.intake.formats import exif
from farm.intake.formats.base import PARTS_MAX, PROFILE_BYTES_MAX, Stripped, Upload

_HAS_ALPHA, _IS_ANIMATION = 0x10, 0x02


@dataclass(slots=True)
class _Found:
    canvas: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    flags: int = 0
    animation: bytes | None = None
    alpha: bytes | None = None
    pixels: tuple[bytes, bytes] | None = None
    profile: bytes | None = None
    orientation: int = exif.UPRIGHT


def strip(upload: Upload) -> Stripped:
    """The picture of a WebP, with its transparency; an animation only where it is one frame.

    Raises:
        InvalidRequest: a side is out of range, or it is an animation.
        UnreadableImage: it is damaged or cut off.
    """
    found = _Found()
    for name, body in _chunks(upload):
        _take(upload, found, name, body)
    size = found.canvas or found.size
    if size is None or found.pixels is None:
        raise upload.damaged("it has no pixels")

    name, body = found.pixels
    parts = []
    if name == b"ANMF":
        flags = _IS_ANIMATION | (found.flags & _HAS_ALPHA)
        parts += [_canvas(flags, size), _chunk(b"ANIM", found.animation or bytes(6))]
    elif name == b"VP8 " and found.alpha is not None:
        parts += [_canvas(_HAS_ALPHA, size), _chunk(b"ALPH", found.alpha)]
    elif found.canvas not in (None, found.size):
        raise upload.damaged("its two headers differ in size")
    parts.append(_chunk(name, body))
    length = 4 + sum(len(part) for part in parts)
    data = b"".join([b"RIFF", struct.pack("<I", length), b"WEBP", *parts])
    return Stripped(data, *size, found.orientation, found.profile)


def _chunks(upload: Upload) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk within the length that the file gives itself."""
    end = 8 + int.from_bytes(upload.part(4, 4), "little")
    if end > len(upload.data):
        raise upload.cut_off()
    start = 12
    for _ in range(PARTS_MAX):
        if start + 8 > end:
            return
        length = int.from_bytes(upload.part(start + 4, 4), "little")
        yield upload.part(start, 4), upload.part(start + 8, length)
        start += 8 + length + length % 2
    raise upload.damaged("it is in more pieces than any program makes")


def _take(upload: Upload, found: _Found, name: bytes, body: bytes) -> None:
    """Take what is needed of one chunk; of what may be there once, the first."""
    if name == b"VP8X" and found.canvas is None:
        if len(body) < 10:
            raise upload.damaged("its header is too short")
        found.flags = body[0]
        found.canvas = _u24(body, 4) + 1, _u24(body, 7) + 1
        upload.check_size(*found.canvas)
    elif name in (b"VP8 ", b"VP8L") and found.pixels is None:
        found.size = _lossy_size(body) if name == b"VP8 " else _lossless_size(body)
        if found.size is None:
            raise upload.damaged("its picture has no header")
        upload.check_size(*found.size)
        found.pixels = name, body
    elif name == b"ANMF":
        if found.pixels is not None:
            raise upload.animated()
        found.pixels = name, body
    elif name == b"ANIM" and found.animation is None:
        found.animation = body
    elif name == b"ALPH" and found.alpha is None:
        found.alpha = body
    elif name == b"ICCP" and len(body) <= PROFILE_BYTES_MAX:
        found.profile = body
    elif name == b"EXIF":
        found.orientation = exif.orientation(body)


def _lossy_size(body: bytes) -> tuple[int, int] | None:
    """Pixels of a VP8 key frame (RFC 6386 section 9.1)."""
    if len(body) < 10 or body[0] & 1 or body[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _lossless_size(body: bytes) -> tuple[int, int] | None:
    """Pixels of a VP8L picture (RFC 9649 section 3.4)."""
    if len(body) < 5 or body[0] != 0x2F:
        return None
    bits = int.from_bytes(body[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _u24(body: bytes, start: int) -> int:
    return int.from_bytes(body[start : start + 3], "little")


def _canvas(flags: int, size: tuple[int, int]) -> bytes:
    width, height = ((side - 1).to_bytes(3, "little") for side in size)
    return _chunk(b"VP8X", bytes((flags, 0, 0, 0)) + width + height)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
