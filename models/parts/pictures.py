"""A job's pictures, as arrays and back: what every picture engine reads and checks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from farm.errors import FieldError, InvalidRequest
from farm.types import RunRequest

Pixels = NDArray[np.uint8]
"""Height x width for a mask or an alpha channel, height x width x 3 or 4 for colours."""

STRIP_ROWS = 128


@dataclass(frozen=True, slots=True)
class Rows:
    """A picture that comes from top to bottom, so that it need not be in memory at once.

    ``strips`` gives arrays of any number of rows x ``width`` x ``channels`` (3 or 4), uint8;
    together they are ``height`` rows. They can be read once.
    """

    width: int
    height: int
    channels: int
    strips: Iterator[Pixels]

    @classmethod
    def of(cls, picture: Pixels) -> Rows:
        """A picture that is in memory."""
        height, width, channels = picture.shape
        strips = (picture[top : top + STRIP_ROWS] for top in range(0, height, STRIP_ROWS))
        return cls(width, height, channels, strips)


def open_input(request: RunRequest, name: str) -> Image.Image:
    """A job's picture, decoded; its mode is RGB, RGBA or L.

    Raises:
        InvalidRequest: the job came without it.
    """
    data = request.inputs.get(name)
    if data is None:
        raise InvalidRequest([FieldError(name, "is required.")])
    # Intake wrote it, in this one format; nothing else is ever opened here.
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        image.load()
        return image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGB")


def open_mask(
    request: RunRequest, name: str, size: tuple[int, int], fate: str = "is removed"
) -> Pixels | None:
    """A job's mask as 0 and 255, height x width, or None where the job has none.

    ``size`` is the (width, height) that it must have. What is at least half white counts;
    ``fate`` says what becomes of it, for whoever sent a black one.

    Raises:
        InvalidRequest: its size is another, or nothing in it is white.
    """
    if name not in request.inputs:
        return None
    image = open_input(request, name).convert("L")
    if image.size != size:
        raise InvalidRequest(
            [
                FieldError(
                    name,
                    f"must be {size[0]}x{size[1]} like the image, "
                    f"got {image.width}x{image.height}.",
                )
            ]
        )
    mask = np.where(np.asarray(image) > 127, 255, 0).astype(np.uint8)
    if not mask.any():
        raise InvalidRequest([FieldError(name, f"is black all over. White is what {fate}.")])
    return mask


def check_params(params: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse parameters that an engine does not use.

    Raises:
        InvalidRequest: naming each of them.
    """
    errors = [FieldError(n, "is not used by this engine.") for n in params if n not in known]
    if errors:
        raise InvalidRequest(errors)


def split(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Colours (height x width x 3) and, where the picture has one, its alpha channel."""
    if image.mode == "RGBA":
        whole = np.asarray(image)
        return np.ascontiguousarray(whole[..., :3]), np.ascontiguousarray(whole[..., 3])
    return np.asarray(image.convert("RGB")), None


def joined(colours: Pixels, alpha: Pixels | None) -> Pixels:
    """The reverse of :func:`split`: height x width x 3, or x 4 with an alpha channel."""
    return colours if alpha is None else np.dstack([colours, alpha])


def flattened(colours: Pixels, alpha: Pixels | None, level: int = 128) -> Pixels:
    """Colours laid on a plain grey of ``level`` wherever they are transparent."""
    if alpha is None:
        return colours
    share = alpha[..., None].astype(np.uint16)
    return ((colours * share + level * (255 - share) + 127) // 255).astype(np.uint8)
