"""What a file is, by its first bytes: names and media types are the sender's to choose."""

from __future__ import annotations

import re

from farm.errors import UnreadableImage

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"GIF8[79]a", "a GIF"),
    (rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)", "a TIFF"),
    (rb"BM.{4}\0\0\0\0", "a BMP"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "an EPS or PostScript file"),
    (rb"%PDF-", "a PDF"),
    (rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "a HEIC picture, as iPhones take them"),
    (rb".{4}ftypavi[fs]", "an AVIF picture"),
    (rb".{4}ftyp|\x1aE\xdf\xa3", "a video"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (rb"8BPS", "a Photoshop file"),
    (rb"\0\0[\x01\x02]\0[^\0]\0", "an icon file"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"data:image/|/9j/|iVBORw0KGgo|UklGR", "a picture written as base64 text"),
)
_TAGS = ((b"<svg", "an SVG"), (b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"))
_LOOK_BYTES = 1024
_SEND = "Send a JPEG, a PNG or a WebP."


def kind_of(data: bytes, field: str) -> str:
    """``JPEG``, ``PNG`` or ``WEBP``.

    Raises:
        UnreadableImage: it is none of them; the sentence says what it seems to be.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if not data:
        raise UnreadableImage(field, f"the file is empty. {_SEND}")
    raise UnreadableImage(field, f"{_guess(data)}. {_SEND}")


def _guess(data: bytes) -> str:
    start = data[:_LOOK_BYTES]
    for pattern, name in _OTHERS:
        if re.match(pattern, start, re.DOTALL):
            return f"it is {name}"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for tag, name in _TAGS:
        if text.startswith(b"<") and tag in text:
            return f"it is {name}"
    return "it is no kind of picture that is known here"
