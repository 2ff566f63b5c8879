"""An upload that is being read, and what is left of it once everything but pixels is gone."""

from __future__ import annotations

from dataclasses import dataclass

from farm.errors import FieldError, InvalidRequest, UnreadableImage

PARTS_MAX = 20_000
"""Segments, chunks or frames that are looked at in one file. The most that a real encoder
makes is one a row, seven times over."""
PROFILE_BYTES_MAX = 4 * 1024 * 1024
"""A colour profile over this is passed over; the largest press profiles have 3 MB."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that says it is a ``kind`` (JPEG, PNG or WEBP), and the field it came in.

    ``side_max`` is the most pixels that a side may have. Everything read through it either is
    there or raises.
    """

    data: bytes
    field: str
    kind: str
    side_max: int

    def part(self, start: int, length: int) -> bytes:
        """These bytes of it. Raises UnreadableImage where the file ends before."""
        if start + length > len(self.data):
            raise self.cut_off()
        return self.data[start : start + length]

    def u16(self, start: int) -> int:
        """A big-endian number of two bytes. Raises UnreadableImage."""
        return int.from_bytes(self.part(start, 2), "big")

    def u32(self, start: int) -> int:
        """A big-endian number of four bytes. Raises UnreadableImage."""
        return int.from_bytes(self.part(start, 4), "big")

    def check_size(self, width: int, height: int) -> None:
        """Raise InvalidRequest unless both sides, in pixels, are 1 to ``side_max``."""
        if 1 <= width <= self.side_max and 1 <= height <= self.side_max:
            return
        what = "make it smaller" if max(width, height) > self.side_max else "send another one"
        message = (
            f"is {width}x{height} pixels. A side must have 1 to {self.side_max} pixels: {what}."
        )
        raise InvalidRequest([FieldError(self.field, message)])

    def animated(self) -> InvalidRequest:
        """The error for a file that holds more than one picture."""
        message = "is an animation. Send one picture that stands still."
        return InvalidRequest([FieldError(self.field, message)])

    def damaged(self, reason: str) -> UnreadableImage:
        """The error for a file that breaks its own format."""
        return UnreadableImage(
            self.field,
            f"this {self.name} cannot be read: {reason}. "
            "Save it again in a picture editor and send that.",
        )

    def cut_off(self) -> UnreadableImage:
        """The error for a file that stops too early."""
        return UnreadableImage(
            self.field, f"this {self.name} ends too early. Send the whole file again."
        )

    @property
    def name(self) -> str:
        """The kind as people write it."""
        return "WebP" if self.kind == "WEBP" else self.kind


@dataclass(frozen=True, slots=True)
class Stripped:
    """A file of the same kind that holds one picture and nothing besides.

    ``width`` and ``height`` are as stored; ``orientation`` is the Exif value (1 to 8) that
    says how to turn it; ``profile`` is an ICC profile that nobody has checked;
    ``inks_upside_down`` says that a CMYK picture stores 255 for no ink, as Adobe does.
    """

    data: bytes
    width: int
    height: int
    orientation: int = 1
    profile: bytes | None = None
    inks_upside_down: bool = False
