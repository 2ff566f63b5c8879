"""Small pictures for tests, encoded as a customer's files are."""

from __future__ import annotations

import functools
import io

from PIL import Image


@functools.cache
def picture(
    kind: str = "PNG", mode: str = "RGB", width: int = 40, height: int = 30, colour: int = 120
) -> bytes:
    """A file of one colour: JPEG, PNG, WEBP, GIF, …"""
    buffer = io.BytesIO()
    fill = (colour,) * len(Image.new(mode, (1, 1)).getbands())
    Image.new(mode, (width, height), fill if len(fill) > 1 else colour).save(buffer, kind)
    return buffer.getvalue()


def mask(width: int = 40, height: int = 30) -> bytes:
    """A white square on black, as large as :func:`picture`."""
    image = Image.new("L", (width, height), 0)
    image.paste(255, (width // 4, height // 4, width // 2, height // 2))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
