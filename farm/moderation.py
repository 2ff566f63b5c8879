"""Prompt moderation: an operator's list of words and patterns, matched on normalised text.

The file has one rule a line: a word or phrase, or ``/regular expression/``. ``#`` starts a
comment. Words match whole words in any letter case, through accents, full-width letters,
zero-width characters and the usual digit-for-letter spellings (``n4ked``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from farm.errors import SetupError

DEFAULT_RULES = Path(__file__).with_name("moderation.txt")

_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a",
                       "$": "s", "!": "i", "|": "l"})  # fmt: skip
# What ends a sentence is no letter: "child!" is not "childi".
_PUNCTUATION = re.compile(r"[!|](?!\w)")
_REFUSAL = "The prompt was refused by the content policy. Change it and send it again."


def normalise(text: str) -> str:
    """Lower case, compatibility forms folded, accents and invisible characters dropped.

    An underscore becomes a space: to a regular expression it is a letter, to a reader a gap.
    """
    folded = unicodedata.normalize("NFKD", text).casefold().replace("_", " ")
    if folded.isascii() and folded.isprintable():
        return " ".join(folded.split())
    hidden = ("Mn", "Me", "Cf", "Cc")
    visible = (c for c in folded if c.isspace() or unicodedata.category(c) not in hidden)
    return " ".join("".join(visible).split())


class PromptPolicy:
    """Decides whether a prompt may be worked on. Immutable and safe to share."""

    def __init__(self, rules: Iterable[str]) -> None:
        """One rule an item. Raises re.error, whose ``pattern`` is the broken rule's."""
        words: list[str] = []
        # Each by itself, so that its groups, flags and mistakes stay its own.
        patterns: list[re.Pattern[str]] = []
        for rule in rules:
            line = rule.strip()
            if len(line) > 2 and line.startswith("/") and line.endswith("/"):
                patterns.append(re.compile(line[1:-1]))
            elif word := normalise(line.split("#", 1)[0]):
                words.append(re.escape(word).replace(r"\ ", r"[\W_]+"))
        if words:
            # Not \b: a rule such as "c++" ends in a character that is no letter.
            patterns.append(re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)"))
        self._patterns = tuple(patterns)

    @classmethod
    def from_file(cls, path: Path = DEFAULT_RULES) -> PromptPolicy:
        """Read a rules file. Raises SetupError naming the file and what is wrong in it."""
        try:
            # With or without the mark that some editors put first.
            return cls(path.read_text(encoding="utf-8-sig").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(
                f"The moderation list {path} cannot be read ({error}). "
                "Give another with FARM_MODERATION_FILE."
            ) from error
        except re.error as error:
            raise SetupError(
                f"The moderation list {path} has a broken pattern {error.pattern!r}: {error.msg}."
            ) from error

    def verdict(self, text: str) -> str | None:
        """None when the text may pass, else a sentence for the customer."""
        plain = normalise(text)
        spelled = _PUNCTUATION.sub(" ", plain).translate(_LEET)
        readings = {plain, spelled}
        if any(p.search(reading) for p in self._patterns for reading in readings):
            return _REFUSAL
        return None
