"""What is wrong with a try-on's body: this path's clients read an object, not a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from farm.errors import FarmError, InvalidRequest, Malformed, Rejected, TooLarge, UnreadableImage


class TryOnRefused(Rejected):
    """The body of a try-on cannot be taken. ``received_size`` is a picture's, as ``80x60``."""

    guidance: ClassVar[str] = "Correct the request and send it again."

    def __init__(self, message: str, received_size: str | None = None) -> None:
        self.received_size = received_size
        super().__init__(message)

    def rendered(self) -> dict[str, Any]:
        """The object that stands under ``detail``."""
        found = {"error": self.code, "message": str(self), "guidance": self.guidance}
        if self.received_size is None:
            return found
        return found | {"received_size": self.received_size}


class InvalidImage(TryOnRefused):
    """Not base64, or not a picture that can be read."""

    code = "invalid_image"
    guidance = "Send the file of a JPEG, a PNG or a WebP, encoded as base64."


class ImageTooSmall(TryOnRefused):
    """The person's picture shows too little."""

    code = "image_too_small"
    guidance = "Send a picture of the person of at least 300x400 pixels."


class WrongAspectRatio(TryOnRefused):
    """The person's picture is wider than tall."""

    code = "wrong_aspect_ratio"
    guidance = "Send a picture of the person that is taller than wide, such as 768x1024 pixels."


class InvalidCategory(TryOnRefused):
    """Not a kind of garment that is known."""

    code = "invalid_category"
    guidance = "Send upperbody, lowerbody or dress."


class InvalidField(TryOnRefused):
    """A field is missing, of the wrong type or out of range."""

    code = "invalid_request"
    guidance = "Correct the field and send the request again. /docs describes every field."


class InvalidBody(TryOnRefused):
    """The body is no JSON object."""

    code = "malformed"
    guidance = "Send a JSON object with person_image, garment_image and category."


class BodyTooLarge(TryOnRefused):
    """The body, or one of its pictures, is over the limit."""

    code = "too_large"
    guidance = "Send pictures whose files have at most 10 MB each."


STATUSES = {
    InvalidImage.code: 400,
    ImageTooSmall.code: 422,
    WrongAspectRatio.code: 422,
    InvalidCategory.code: 422,
}
"""Those that no other path knows."""

_INSTEAD: tuple[tuple[type[FarmError], type[TryOnRefused]], ...] = (
    (UnreadableImage, InvalidImage),
    (InvalidRequest, InvalidField),
    (Malformed, InvalidBody),
    (TooLarge, BodyTooLarge),
)


@contextmanager
def about_the_body() -> Iterator[None]:
    """Whatever is found wrong with the body within the block is raised as a TryOnRefused."""
    try:
        yield
    except (UnreadableImage, InvalidRequest, Malformed, TooLarge) as error:
        kind = next(instead for found, instead in _INSTEAD if isinstance(error, found))
        raise kind(str(error)) from error
