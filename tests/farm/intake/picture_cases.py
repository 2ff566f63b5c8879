"""What a hostile upload is, what must become of it, and how an accepted one is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from tests.farm.intake.picture_parts import QUADRANTS, SIZE

Expected = Literal["ok", "unreadable", "invalid", "too_large"]
"""400 ``unreadable_image``, 422 ``invalid_request`` and 413 ``too_large`` over HTTP."""
Check = Callable[[Image.Image], None]
Colour = tuple[int, ...]


@dataclass(frozen=True)
class HostilePicture:
    """One upload: ``content()`` makes its bytes; ``check`` looks at what an ``ok`` becomes."""

    name: str
    content: Callable[[], bytes]
    expected: Expected
    check: Check | None = None


def shows(
    *colours: Colour, mode: str = "RGB", size: tuple[int, int] = SIZE, off: int = 14
) -> Check:
    """A check of mode, size and the colours in the middle of the four quarters (one given:
    everywhere), each channel at most ``off`` levels away."""

    def check(image: Image.Image) -> None:
        assert (image.mode, image.size) == (mode, size)
        wanted = colours * 4 if len(colours) == 1 else colours or QUADRANTS
        width, height = size
        places = [(x * width // 4, y * height // 4) for y in (1, 3) for x in (1, 3)]
        for place, colour in zip(places, wanted, strict=True):
            found = image.getpixel(place)
            assert isinstance(found, tuple), found
            assert all(abs(a - b) <= off for a, b in zip(found, colour, strict=True)), (
                place,
                found,
                colour,
            )

    return check


def ok(name: str, content: Callable[[], bytes], check: Check | None = None) -> HostilePicture:
    """An upload that is taken; it shows the four quarters unless said otherwise."""
    return HostilePicture(name, content, "ok", check or shows())


def unreadable(name: str, content: Callable[[], bytes]) -> HostilePicture:
    """An upload that is no picture, or a damaged one."""
    return HostilePicture(name, content, "unreadable")


def invalid(name: str, content: Callable[[], bytes]) -> HostilePicture:
    """A picture that is too large, or too many."""
    return HostilePicture(name, content, "invalid")
