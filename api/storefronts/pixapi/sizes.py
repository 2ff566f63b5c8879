"""``size``, ``resolution`` and ``seconds`` as the models' own parameters. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from farm.cards import ParamSpec
from farm.errors import FieldError, InvalidRequest
from farm.parameters import type_name

AUTO = "auto"
SIDES = ("width", "height")
_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})", re.ASCII)
_FORM = "must be WIDTHxHEIGHT in pixels, such as 1024x1024, or auto"


def decode_size(value: Any, specs: Mapping[str, ParamSpec]) -> dict[str, int]:
    """A picture's ``size`` as ``width`` and ``height``; empty where the model decides.

    Raises:
        InvalidRequest: it is no size, or a side is longer or shorter than the model makes.
    """
    if value is None or value == AUTO:
        return {}
    if not isinstance(value, str):
        raise _wrong("size", f"{_FORM}, not {type_name(value)}.")
    found = _SIZE.fullmatch(value)
    if not found:
        raise _wrong("size", f"{_FORM}, got {value[:40]!r}.")
    sides = dict(zip(SIDES, map(int, found.groups()), strict=True))
    for side, pixels in sides.items():
        spec = specs.get(side)
        if spec is not None and not spec.min <= pixels <= spec.max:
            least, most = (
                "x".join(f"{getattr(specs[s], end):g}" for s in SIDES) for end in ("min", "max")
            )
            raise _wrong("size", f"must be from {least} to {most}, or auto, got {value[:40]!r}.")
    return sides


def decode_resolution(values: Mapping[str, Any], spec: ParamSpec) -> tuple[str | None, str]:
    """A film's ``resolution``, or ``size`` in pixels, as a name such as ``720p``; and which of
    the two it was.

    Raises:
        InvalidRequest: it is none that the model films in, or the two contradict each other.
    """
    found = {
        field: _resolution(field, values[field], spec)
        for field in ("resolution", "size")
        if values.get(field) not in (None, AUTO)
    }
    if len(set(found.values())) > 1:
        raise _wrong("size", f"says {found['size']}, and resolution {found['resolution']}.")
    field = next(iter(found), "resolution")
    return found.get(field), field


def _resolution(field: str, value: Any, spec: ParamSpec) -> str:
    if not isinstance(value, str):
        raise _wrong(field, f"must be text, not {type_name(value)}.")
    name = value
    if pixels := _SIZE.fullmatch(value):
        width, height = map(int, pixels.groups())
        if width > height:
            name = f"{height}p"
    if name not in spec.choices:
        names = ", ".join(spec.choices)
        wide = " or pixels that are wider than high" if field == "size" else ""
        raise _wrong(field, f"must be one of {names}{wide}, got {value[:40]!r}.")
    return name


def decode_seconds(values: Mapping[str, Any]) -> tuple[float | None, str]:
    """A film's ``seconds`` or ``duration``, a number or a number's text; and which it was.

    Raises:
        InvalidRequest: it is no number, or the two contradict each other.
    """
    found = {
        field: _number(field, values[field])
        for field in ("seconds", "duration")
        if values.get(field) is not None
    }
    if len(set(found.values())) > 1:
        raise _wrong("duration", f"is {found['duration']:g}, and seconds {found['seconds']:g}.")
    field = next(iter(found), "seconds")
    return found.get(field), field


def _number(field: str, value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value, re.ASCII):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        got = f"got {value[:40]!r}" if isinstance(value, str) else f"not {type_name(value)}"
        raise _wrong(field, f"must be a number of seconds, {got}.")
    number = float(value) if abs(value) < 1e9 else math.inf
    if not math.isfinite(number):
        raise _wrong(field, "must be a finite number of seconds.")
    return number


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest([FieldError(field, message)])
