"""Numbers in a query: a page's size, where it begins."""

from __future__ import annotations

from farm.errors import FieldError

CURSOR_MAX = 2**63 - 1
_DIGITS_MAX = 19
_SHOWN = 40


def whole_number(
    text: str | None, name: str, least: int, most: int, problems: list[FieldError]
) -> int | None:
    """The field's value; None where it was left out, or is wrong, which is added to
    ``problems``."""
    if text is None:
        return None
    plain = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
    if plain and least <= int(text) <= most:
        return int(text)
    problems.append(
        FieldError(name, f"must be a whole number from {least} to {most}, got {text[:_SHOWN]!r}.")
    )
    return None
