"""What a few words say about a thing in a picture: its colours, its place and its size."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.parts.colour_names import Named, named

_LEFT, _RIGHT = frozenset({"left"}), frozenset({"right"})
_TOP = frozenset({"top", "upper"})
_BOTTOM = frozenset({"bottom", "lower"})
_MIDDLE = frozenset({"middle", "center", "centre", "central"})
_BIG = frozenset({"big", "large", "huge", "biggest", "largest", "bigger", "larger"})
_SMALL = frozenset({"small", "little", "tiny", "smallest", "smaller"})
_PLACES = _LEFT | _RIGHT | _TOP | _BOTTOM | _MIDDLE

_TURNS = frozenset(
    [
        "on",
        "in",
        "at",
        "of",
        "with",
        "behind",
        "beside",
        "near",
        "under",
        "over",
        "above",
        "below",
        "by",
        "next",
        "against",
        "inside",
        "from",
        "between",
        "around",
        "without",
    ]
)
"""What follows one of these is another thing, unless it is a place in the picture."""
_THE_PICTURE = frozenset({"picture", "image", "photo", "photograph", "frame", "scene", "shot"})
_FILLING_WORDS = frozenset({"the", "a", "an", "very", "far", "hand", "side", "corner", "and"})


@dataclass(frozen=True, slots=True)
class Wish:
    """``across`` and ``down`` are -1 for left and top, 0 for the middle, 1 for right and
    bottom, None where nothing is said; ``size`` is -1 for small and 1 for big."""

    colours: tuple[Named, ...] = ()
    across: int | None = None
    down: int | None = None
    size: int = 0

    @property
    def says_where(self) -> bool:
        """Whether it names a place."""
        return self.across is not None or self.down is not None


def understood(prompt: str) -> Wish | None:
    """What the words say, or None where they name neither a colour, a place nor a size, or
    say where a thing is by another ("left of the ball")."""
    words = re.findall(r"[a-z]+", prompt.lower())
    colours: list[Named] = []
    places: set[str] = set()
    size = 0
    about_another = False
    for index, word in enumerate(words):
        if word in _TURNS:
            rest = words[index + 1 :]
            about_another = not _goes_on_with_a_place(rest)
            if about_another and _other_thing(rest) and index and words[index - 1] in _PLACES:
                return None
        if about_another:
            continue
        before = words[index - 1] if index else ""
        colour = named(word, before)
        if colour is not None:
            colours.append(colour)
        if word in _PLACES:
            places.add(word)
        size += (word in _BIG) - (word in _SMALL)
    across = _one_of(places, _LEFT, _RIGHT)
    down = _one_of(places, _TOP, _BOTTOM)
    if across is None and down is None and places & _MIDDLE:
        across = down = 0
    wish = Wish(tuple(colours), across, down, max(-1, min(1, size)))
    return wish if wish != Wish() else None


def _goes_on_with_a_place(rest: list[str]) -> bool:
    for word in rest:
        if word in _PLACES:
            return True
        if word not in _FILLING_WORDS:
            return word in _THE_PICTURE
    return False


def _other_thing(rest: list[str]) -> bool:
    return any(word not in _FILLING_WORDS | _THE_PICTURE for word in rest)


def _one_of(places: set[str], low: frozenset[str], high: frozenset[str]) -> int | None:
    if places & low and not places & high:
        return -1
    return 1 if places & high and not places & low else None
