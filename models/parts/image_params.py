"""The parameters of a job that paints, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from farm.errors import FieldError, InvalidRequest
from models.parts import encoding

SIDE_MAX = 8192
STEPS_MAX = 1000
SEED_MAX = 2**32 - 1
_REQUIRED = ("prompt", "width", "height", "steps", "seed")
_OPTIONAL = ("guidance_scale", "negative_prompt", "output_format")
_FRACTIONS = {
    "guidance_scale": (math.inf, "must be 0 or more."),
    "strength": (1.0, "must be from 0 to 1."),
}
_TO_EDIT = ("prompt", "steps", "seed")
_TO_EDIT_OPTIONAL = ("width", "height", "guidance_scale", "output_format")


@dataclass(frozen=True, slots=True)
class ImageParams:
    """What a picture is made from; sizes in pixels.

    The catalogue's ranges were checked at submit. This checks what would break or mislead an
    engine, whatever the catalogue says.
    """

    prompt: str
    width: int
    height: int
    steps: int
    seed: int
    guidance_scale: float = 0.0
    negative_prompt: str = ""
    output_format: str = encoding.PNG

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Read a request's parameters.

        Raises:
            InvalidRequest: naming each one that is missing, unknown, or unusable.
        """
        check(params, _REQUIRED, _OPTIONAL)
        return cls(**params)


@dataclass(frozen=True, slots=True)
class EditParams:
    """What is to become of a picture. A side that is None follows from the picture's own size;
    ``strength`` is how far it may go from the picture, 0 to 1."""

    prompt: str
    steps: int
    seed: int
    width: int | None = None
    height: int | None = None
    guidance_scale: float = 0.0
    strength: float = 1.0
    output_format: str = encoding.PNG

    @classmethod
    def read(cls, params: Mapping[str, Any], *more: str) -> Self:
        """Read a request's parameters; ``more`` are those that only some engines take.

        Raises:
            InvalidRequest: naming each one that is missing, unknown, or unusable.
        """
        check(params, _TO_EDIT, (*_TO_EDIT_OPTIONAL, *more))
        return cls(**params)


def check(
    params: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """Check the parameters of these names, and that there are no others.

    Raises:
        InvalidRequest: naming each one that is missing, unknown, or unusable.
    """
    known = (*required, *optional)
    errors = [FieldError(n, "is required.") for n in required if n not in params]
    errors += [FieldError(n, "is not used by this engine.") for n in params if n not in known]
    for name, value in params.items():
        problem = _problem(name, value)
        if problem:
            errors.append(FieldError(name, problem))
    if errors:
        raise InvalidRequest(errors)


def _problem(name: str, value: Any) -> str | None:
    if name in ("prompt", "negative_prompt"):
        if not isinstance(value, str):
            return "must be text."
        return "must not be empty." if name == "prompt" and not value.strip() else None
    if name in _FRACTIONS:
        return _fraction_problem(name, value)
    if name == "output_format":
        known = ", ".join(encoding.FORMATS)
        return None if value in encoding.FORMATS else f"must be one of {known}."
    return _number_problem(name, value)


def _fraction_problem(name: str, value: Any) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    most, sentence = _FRACTIONS[name]
    return None if number and math.isfinite(value) and 0 <= value <= most else sentence


def _number_problem(name: str, value: Any) -> str | None:
    bounds = {"width": (1, SIDE_MAX), "height": (1, SIDE_MAX)}
    bounds |= {"steps": (1, STEPS_MAX), "seed": (0, SEED_MAX)}
    if name not in bounds:
        return None
    low, high = bounds[name]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        return f"must be a whole number from {low} to {high}."
    return None
