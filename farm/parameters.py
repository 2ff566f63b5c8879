"""Request parameters against a model card: defaults in, ranges checked, slips named.

Every storefront decodes its own field names into the card's and ends here, so that a range
is written once, in the catalogue.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from farm.cards import ModelCard, ParamSpec
from farm.errors import FieldError, InvalidRequest


def resolve(
    card: ModelCard, given: Mapping[str, Any], operation: str = ""
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The engine's parameters and the warnings for the caller.

    ``operation`` is what the model is to do, its first one where left empty.
    ``given`` holds only fields of the card; None means absent. A drawn parameter that is
    absent stays absent: it is drawn at submit, when the job is written.

    Raises:
        InvalidRequest: naming every field that is missing, of the wrong type or out of range.
    """
    errors: list[FieldError] = []
    params: dict[str, Any] = {}
    warnings: list[str] = []
    operation = operation or card.operation
    for name, spec in card.params_of(operation).items():
        value = given.get(name)
        if value is None:
            if spec.required:
                errors.append(FieldError(name, "is required."))
            elif (default := spec.default_for(operation)) is not None and not spec.unused:
                params[name] = default
            continue
        problem = _problem(spec, value)
        if problem:
            errors.append(FieldError(name, problem))
        elif spec.unused:
            if value != "":
                warnings.append(f"{name} is not used by {card.id}.")
        else:
            params[name] = float(value) if spec.kind == "number" else value
    if errors:
        raise InvalidRequest(errors)
    return params, tuple(warnings)


def unknown_fields(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """A warning for each name that is not known, with the nearest known one if it is a slip."""
    candidates = sorted(known)
    warnings = []
    for name in names:
        if name in candidates:
            continue
        near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]}?" if near else ""
        warnings.append(f"{name[:64]} is not a known field and was not used.{hint}")
    return tuple(warnings)


def _problem(spec: ParamSpec, value: Any) -> str | None:
    """A sentence about what is wrong with the value, or None."""
    if spec.kind == "text":
        return _text_problem(spec, value)
    if spec.kind == "choice":
        return _choice_problem(spec, value)
    return _number_problem(spec, value)


def _choice_problem(spec: ParamSpec, value: Any) -> str | None:
    if isinstance(value, str) and value in spec.choices:
        return None
    allowed = ", ".join(spec.choices)
    return f"must be {'one of ' if len(spec.choices) > 1 else ''}{allowed}, got {value!r:.40}."


def _number_problem(spec: ParamSpec, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        noun = "a whole number" if spec.kind == "integer" else "a number"
        return f"must be {noun}, not {type_name(value)}."
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number from {_range(spec)}."
    if spec.kind == "integer" and not isinstance(value, int):
        return f"must be a whole number, got {value!r}."
    if not spec.min <= value <= spec.max:
        allowed = f"{spec.min:.16g}" if spec.min == spec.max else f"from {_range(spec)}"
        return f"must be {allowed}, got {value!r:.40}."
    return None


def _range(spec: ParamSpec) -> str:
    return f"{spec.min:.16g} to {spec.max:.16g}"


def _text_problem(spec: ParamSpec, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"must be text, not {type_name(value)}."
    if "\x00" in value:
        return "must not contain the NUL character."
    if any("\ud800" <= char <= "\udfff" for char in value):
        return "must be valid Unicode, without lone surrogates."
    length = len(value.strip()) if spec.min else len(value)
    if length < spec.min:
        least = f"must be at least {spec.min:g} characters, got {length:,}."
        return "must not be empty." if spec.min <= 1 else least
    if len(value) > spec.max:
        return f"must be at most {spec.max:g} characters, got {len(value):,}."
    return None


def type_name(value: Any) -> str:
    """The JSON name of a value's type, for error messages."""
    names = {bool: "a boolean", str: "text", int: "a number", float: "a number"}
    names.update({list: "a list", dict: "an object", type(None): "null"})
    return names.get(type(value), type(value).__name__)
