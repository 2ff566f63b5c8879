"""Pictures on their way to an upstream and back."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageChops, ImageOps

from farm.errors import FieldError, InvalidRequest
from farm.types import Picture, RunRequest
from models.parts.pictures import Rows, open_input

File = tuple[str, bytes, str]
"""A file's name, its bytes and its type, as the client takes it."""

NAMES = ("image", "image_2", "image_3", "image_4")
SENT_BYTES_MAX = 8 << 20
"""All pictures of one request together: what services of this kind take, and as base64 too."""
_QUALITIES = (95, 85, 70)


def uploads(request: RunRequest) -> list[File]:
    """The job's pictures, the first one first, each as PNG, or as WebP where PNG is too large.

    Raises:
        InvalidRequest: there is none, or they are too large however they are written.
    """
    names = [name for name in NAMES if name == NAMES[0] or name in request.inputs]
    most = SENT_BYTES_MAX // len(names)
    return [_file(open_input(request, name), name, most) for name in names]


def mask(request: RunRequest, size: tuple[int, int]) -> File | None:
    """The job's mask as services of this kind want it: what is clear in it is worked on.

    The farm's own masks say it in brightness: white is worked on.

    Raises:
        InvalidRequest: its size is not that of the picture.
    """
    if "mask" not in request.inputs:
        return None
    bright = open_input(request, "mask").convert("L")
    if bright.size != size:
        sentence = (
            f"must be {size[0]}x{size[1]} like the image, got {bright.width}x{bright.height}."
        )
        raise InvalidRequest([FieldError("mask", sentence)])
    paper = Image.new("RGBA", size)
    paper.putalpha(ImageChops.invert(bright))
    return ("mask.png", _written(paper, "PNG"), "image/png")


def size_of(request: RunRequest) -> tuple[int, int]:
    """Width and height of the job's first picture. Raises InvalidRequest without one."""
    return open_input(request, NAMES[0]).size


def data_url(file: File) -> str:
    """A file as text."""
    _, data, media_type = file
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def rows(picture: Picture, size: tuple[int, int] | None) -> Rows:
    """A checked picture's pixels, exactly as large as was asked for.

    Some services make a few sizes only: then the picture is scaled until it covers the size,
    and its middle taken.
    """
    with Image.open(io.BytesIO(picture.data), formats=["TIFF"]) as image:
        image.load()
        made: Image.Image = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    if size is not None and made.size != size:
        made = ImageOps.fit(made, size, Image.Resampling.LANCZOS)
    return Rows.of(np.asarray(made))


def _file(image: Image.Image, name: str, bytes_max: int) -> File:
    plain = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    data = _written(plain, "PNG")
    if len(data) <= bytes_max:
        return (f"{name}.png", data, "image/png")
    for quality in _QUALITIES:
        data = _written(plain, "WEBP", quality)
        if len(data) <= bytes_max:
            return (f"{name}.webp", data, "image/webp")
    raise InvalidRequest([FieldError(name, "is too large for this model. Send a smaller one.")])


def _written(image: Image.Image, form: str, quality: int | None = None) -> bytes:
    buffer = io.BytesIO()
    if quality is None:
        image.save(buffer, form, compress_level=4)
    else:
        image.save(buffer, form, quality=quality)
    return buffer.getvalue()
