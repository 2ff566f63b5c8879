"""JPEG files: segments (ITU-T T.81 annex B; JFIF 1.02; Adobe technical note 5116)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from farm.intake.formats import exif
from farm.intake.formats.base import PARTS_MAX, PROFILE_BYTES_MAX, Stripped, Upload

SCANS_MAX = 100
"""A progressive picture is drawn in about ten scans. Each goes over the whole picture even
where it has nothing to say, in a few bytes, so that a small file can keep a decoder busy for
hours ("Two Issues with the JPEG Standard", the libjpeg-turbo project)."""
HEAD_BYTES_MAX = 256 * 1024
"""Tables before the first scan: a real picture has under 4 KB."""

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive, each with Huffman codes."""
_RARE_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE})
"""Lossless, hierarchical and arithmetic: nobody sends them, decoders hardly test them."""
_TABLES = frozenset({0xC4, 0xDB, 0xDD})
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_WITH_LENGTH = frozenset({*_TABLES, _SOS, 0xDC, *range(0xE0, 0xF0), 0xFE})
_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker among coded data, in which 0xFF is followed by 0 or by a restart's number."""


@dataclass(slots=True)
class _Found:
    width: int = 0
    height: int = 0
    orientation: int | None = None
    adobe: bool = False
    pieces: dict[int, bytes] = field(default_factory=dict)
    pieces_total: int = 0
    kept: list[bytes] = field(default_factory=lambda: [b"\xff\xd8"])
    kept_bytes: int = 0


def strip(upload: Upload) -> Stripped:
    """Tables, frame and scans of a JPEG, with the two segments that say which colours they are.

    What follows its end is left out. That makes one picture of a file that carries more
    behind the first (MPO: both eyes of a 3-D camera, a phone's depth or brightness map, a
    few seconds of video), which is the picture that every viewer shows.

    Raises:
        InvalidRequest: a side is out of range.
        UnreadableImage: it is damaged or cut off, or of a kind that nobody uses.
    """
    found = _Found()
    start = _head(upload, found)
    end = _end(upload, start)
    if not found.width:
        raise upload.damaged("it has no header")
    return Stripped(
        b"".join([*found.kept, upload.data[start:end]]),
        found.width,
        found.height,
        found.orientation or exif.UPRIGHT,
        _profile(found),
        inks_upside_down=found.adobe,
    )


def _head(upload: Upload, found: _Found) -> int:
    """Take what stands before the first scan; returns where that scan's marker is."""
    start = 2
    for _ in range(PARTS_MAX):
        # Some cameras leave filling between segments; every decoder steps over it.
        start = upload.data.find(b"\xff", start)
        if start < 0:
            raise upload.cut_off()
        marker = upload.part(start + 1, 1)[0]
        if marker == _SOS:
            return start
        if marker == _EOI:
            raise upload.damaged("it has no pixels")
        if marker in (0x00, 0xFF):
            start += 1
            continue
        start += 2
        if marker in _ALONE:
            continue
        length = upload.u16(start)
        if length < 2:
            raise upload.damaged("a segment is shorter than its own length")
        _take(upload, found, marker, upload.part(start + 2, length - 2))
        start += length
    raise upload.damaged("it is in more pieces than any program makes")


def _take(upload: Upload, found: _Found, marker: int, body: bytes) -> None:
    if marker in _FRAMES:
        _frame(upload, found, body)
    elif marker in _RARE_FRAMES:
        raise upload.damaged("it is a lossless, hierarchical or arithmetic one")
    elif marker == _APP0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        body = body[:12] + b"\0\0"  # without the small picture that may follow
    elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
        body = body[:12]
        found.adobe = True
    elif marker not in _TABLES:
        _note(found, marker, body)
        return
    found.kept_bytes += len(body)
    if found.kept_bytes > HEAD_BYTES_MAX:
        raise upload.damaged("its tables are larger than any program makes them")
    found.kept.append(bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body)


def _frame(upload: Upload, found: _Found, body: bytes) -> None:
    if len(body) < 6:
        raise upload.damaged("its header is too short")
    width, height = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
    upload.check_size(width, height)
    if found.width:
        raise upload.damaged("it has two headers")
    if body[0] != 8:
        raise upload.damaged(f"it has {body[0]} bits a sample where pictures have 8")
    found.width, found.height = width, height


def _note(found: _Found, marker: int, body: bytes) -> None:
    """Remember the orientation and the pieces of a colour profile."""
    if marker == _APP1 and body.startswith(b"Exif\0\0") and found.orientation is None:
        found.orientation = exif.orientation(body)
    elif marker == _APP2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
        found.pieces[body[12]] = body[14:]
        found.pieces_total = body[13]


def _profile(found: _Found) -> bytes | None:
    """The ICC profile put together (ICC.1:2010 annex B), or None where a piece is missing."""
    total = found.pieces_total
    if not total or set(found.pieces) != set(range(1, total + 1)):
        return None
    profile = b"".join(found.pieces[number] for number in range(1, total + 1))
    return profile if len(profile) <= PROFILE_BYTES_MAX else None


def _end(upload: Upload, start: int) -> int:
    """Where the picture whose first scan is at ``start`` ends, just after its last marker."""
    scans = 0
    for _ in range(PARTS_MAX):
        marker = _IN_SCAN.search(upload.data, start)
        if marker is None:
            raise upload.cut_off()
        start, code = marker.end(), marker[0][1]
        if code == _EOI:
            return start
        if code in _WITH_LENGTH:
            start += upload.u16(start)
        scans += code == _SOS
        if scans > SCANS_MAX:
            raise upload.damaged(f"it is drawn in more than {SCANS_MAX} scans")
    raise upload.damaged("it is in more pieces than any program makes")
