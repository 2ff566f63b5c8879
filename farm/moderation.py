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
_REFUSAL = "The prompt was refused by the content policy. Change it and send it again."


def normalise(text: str) -> str:
    """Lower case, compatibility forms folded, accents and invisible characters dropped."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    hidden = ("Mn", "Me", "Cf", "Cc")
    visible = (c for c in folded if c.isspace() or unicodedata.category(c) not in hidden)
    return " ".join("".join(visible).split())


class PromptPolicy:
    """Decides whether a prompt may be worked on. Immutable and safe to share."""

    def __init__(self, rules: Iterable[str]) -> None:
        words: list[str] = []
        patterns: list[str] = []
        for rule in rules:
            line = rule.split("#", 1)[0].strip() if not rule.startswith("/") else rule.strip()
            if not line:
                continue
            if len(line) > 2 and line.startswith("/") and line.endswith("/"):
                patterns.append(f"(?:{line[1:-1]})")
            else:
                words.append(re.escape(normalise(line)).replace(r"\ ", r"[\W_]+"))
        alternatives = [rf"\b(?:{'|'.join(words)})\b"] if words else []
        joined = "|".join(alternatives + patterns)
        self._pattern = re.compile(joined) if joined else None

    @classmethod
    def from_file(cls, path: Path = DEFAULT_RULES) -> PromptPolicy:
        """Read a rules file. Raises SetupError naming the file and what is wrong in it."""
        try:
            return cls(path.read_text(encoding="utf-8").splitlines())
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
        if self._pattern is None:
            return None
        plain = normalise(text)
        if self._pattern.search(plain) or self._pattern.search(plain.translate(_LEET)):
            return _REFUSAL
        return None
