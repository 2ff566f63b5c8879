"""Fields that the dialect does not have: not used, not refused, and named to the caller."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from farm.parameters import unknown_fields

_WARNINGS_MAX = 20


def not_known(names: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Warnings for fields that are not used; a body of a million of them gets a few."""
    strangers = [name for name in names if name not in known]
    if not strangers:
        return ()
    shown = [_printable(name[:64]) for name in itertools.islice(strangers, _WARNINGS_MAX)]
    more = len(strangers) - len(shown)
    rest = (f"{more} more unknown fields were not used.",) if more else ()
    return unknown_fields(shown, known) + rest


def _printable(name: str) -> str:
    """A field name fit for a sentence: control characters and half surrogates escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]
