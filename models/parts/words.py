"""From a customer's words to the part of a picture that they mean."""

from __future__ import annotations

from typing import NoReturn, Protocol

from PIL import Image

from farm.errors import FieldError, InvalidRequest
from models.parts.matting import OnStage
from models.parts.pictures import Pixels


class Finder(Protocol):
    """Finds what a prompt names. The order is ``load``, any number of ``mask``, ``unload``.

    ``stages`` is how often ``mask`` calls ``on_stage``; ``resident_bytes`` is the device
    memory that ``load`` took, 0 while unloaded.
    """

    @property
    def name(self) -> str: ...
    @property
    def stages(self) -> int: ...
    @property
    def resident_bytes(self) -> int: ...

    def load(self, device: str) -> None:
        """Bring the weights onto the device; a no-op when loaded."""
        ...

    def mask(self, image: Image.Image, prompt: str, on_stage: OnStage) -> Pixels:
        """What the prompt means in an RGB picture: height x width, 255 where it is, else 0.

        Raises:
            InvalidRequest: it is not there; see :func:`not_found`.
        """
        ...

    def unload(self) -> None:
        """Give the memory back; a no-op when unloaded."""
        ...


def not_found(prompt: str, advice: str) -> NoReturn:
    """End the job with a sentence for the customer.

    Raises:
        InvalidRequest: always.
    """
    short = prompt if len(prompt) <= 80 else f"{prompt[:77]}..."
    raise InvalidRequest(
        [FieldError("prompt", f"{short!r} was not found in the picture. {advice}")]
    )
