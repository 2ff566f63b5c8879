"""Styles, shapes and qualities: how a few words become what a picture model is asked for.

They are data, in ``farm/styles.toml``. A style is a template around the customer's prompt and
what the model is to keep away from; a shape is the sides in pixels; a quality multiplies the
sides and the model's steps. What a quality costs is the catalogue's.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from farm.cards import Frozen, Identifier, ModelCard, ParamSpec
from farm.data_files import load_data, with_ids
from farm.errors import FieldError, InvalidRequest
from farm.parameters import resolve

OPERATION = "generate"
BUILT_IN = Path(__file__).with_name("styles.toml")
SLOT = "{prompt}"
"""Where the customer's words go in a template."""
NO_STYLE, SQUARE, STANDARD = "no-style", "square", "standard"
"""What a request means that does not say."""

_WORDS_MAX = 300
_SIDE_STEP = 8
"""Models paint in multiples of this many pixels; other sizes are cropped, which costs time."""
_RATIO_SLACK = 0.01

Side = Annotated[int, Field(ge=256, le=2048, multiple_of=_SIDE_STEP)]


class Style(Frozen):
    """One style. ``prompt`` has the customer's words in place of ``{prompt}``."""

    id: Identifier
    name: Annotated[str, Field(min_length=1)]
    category: Annotated[str, Field(min_length=1)]
    alias: Identifier | None = None
    prompt: Annotated[str, Field(max_length=_WORDS_MAX)]
    negative: Annotated[str, Field(max_length=_WORDS_MAX)] = ""

    @model_validator(mode="after")
    def _words_have_a_place(self) -> Self:
        if self.prompt.count(SLOT) != 1:
            raise ValueError(f"the prompt names {SLOT} once")
        plain = self.prompt == SLOT and not self.negative
        if plain != (self.id == NO_STYLE):
            raise ValueError(f"{NO_STYLE}, and nothing else, changes nothing")
        return self

    @property
    def added(self) -> int:
        """How many characters the template adds to a prompt."""
        return len(self.prompt) - len(SLOT)

    def applied(self, prompt: str) -> str:
        """What the model gets."""
        return self.prompt.replace(SLOT, prompt)


class Shape(Frozen):
    """One shape: its sides in pixels at standard quality, and how they are to each other."""

    id: Identifier
    name: Annotated[str, Field(min_length=1)]
    ratio: Annotated[str, Field(pattern=r"^[1-9]\d?:[1-9]\d?$")]
    width: Side
    height: Side

    @model_validator(mode="after")
    def _sides_have_the_ratio(self) -> Self:
        across, down = map(int, self.ratio.split(":"))
        if not math.isclose(self.width / self.height, across / down, rel_tol=_RATIO_SLACK):
            raise ValueError(f"{self.width} x {self.height} is not {self.ratio}")
        return self


class Quality(Frozen):
    """What a quality multiplies: the sides of the shape, the usual steps of the model."""

    scale: Annotated[float, Field(ge=1, le=4)]
    steps: Annotated[float, Field(ge=1, le=4)]


class Preview(Frozen):
    """What every style's preview shows, in which shape; ``side`` is the longest one of the file
    that is kept, in pixels."""

    prompt: Annotated[str, Field(min_length=1, max_length=_WORDS_MAX)]
    seed: Annotated[int, Field(ge=0, le=4294967295)]
    shape: Identifier
    side: Annotated[int, Field(ge=64, le=1024)]


Row = TypeVar("Row", Style, Shape)


class StyleBook(Frozen):
    """Everything in the file, by id, in its order."""

    preview: Preview
    qualities: dict[Identifier, Quality]
    shapes: dict[Identifier, Shape]
    styles: dict[Identifier, Style]

    @field_validator("shapes", "styles", mode="before")
    @classmethod
    def _name_the_rows(cls, table: Any) -> Any:
        return with_ids(table)

    @model_validator(mode="after")
    def _names_are_unique_and_defaults_there(self) -> Self:
        names = [name for s in self.styles.values() for name in (s.id, s.alias) if name]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{min(doubled)!r} names two styles")
        for name, table in (
            (NO_STYLE, self.styles),
            (SQUARE, self.shapes),
            (self.preview.shape, self.shapes),
            (STANDARD, self.qualities),
        ):
            if name not in table:
                raise ValueError(f"{name!r} is missing")
        return self

    @property
    def categories(self) -> dict[str, list[Style]]:
        """The styles by category, in the file's order."""
        found: dict[str, list[Style]] = {}
        for style in self.styles.values():
            found.setdefault(style.category, []).append(style)
        return found

    def look_up_style(self, name: str) -> Style | None:
        """The style with this id or alias, or None."""
        found = self.styles.get(name)
        return found or next((s for s in self.styles.values() if s.alias == name), None)

    def style(self, name: str) -> Style:
        """The style with this id or alias. Raises InvalidRequest with the nearest names."""
        found = self.look_up_style(name)
        if found is None:
            aliases = [style.alias for style in self.styles.values() if style.alias]
            raise _unknown("style", name, [*self.styles, *aliases], shown=3)
        return found

    def shape(self, name: str) -> Shape:
        """The shape with this id. Raises InvalidRequest with the names there are."""
        found = self.shapes.get(name)
        if found is None:
            raise _unknown("shape", name, self.shapes, shown=3)
        return found

    def quality(self, name: str) -> Quality:
        """The quality with this id. Raises InvalidRequest with the names there are."""
        found = self.qualities.get(name)
        if found is None:
            names = ", ".join(self.qualities)
            raise InvalidRequest(
                [FieldError("quality", f"must be one of {names}, got {name[:40]!r}.")]
            )
        return found


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is wanted: a style, a shape and a quality."""

    style: Style
    shape: Shape
    quality: Quality

    def params(self, card: ModelCard, prompt: Any, seed: Any = None) -> dict[str, Any]:
        """The model's parameters for a prompt, as a client sent it, in this look.

        Sides and steps stop at the model's own limits.

        Raises:
            InvalidRequest: naming ``prompt`` or ``seed``; with the style's words too a prompt
                may be no longer than the model takes.
        """
        found, _ = resolve(card, {"prompt": prompt, "seed": seed}, OPERATION)
        room = int(card.params["prompt"].max) - self.style.added
        if len(prompt) > room:
            words = f" with the style {self.style.id}" if self.style.added else ""
            message = f"must be at most {room} characters{words}, got {len(prompt):,}."
            raise InvalidRequest([FieldError("prompt", message)])
        found["prompt"] = self.style.applied(prompt)
        negative = _spec(card, "negative_prompt")
        if self.style.negative and negative is not None and not negative.unused:
            found["negative_prompt"] = self.style.negative
        steps = _spec(card, "steps")
        if self.quality.steps != 1 and steps is not None and steps.default is not None:
            wanted = math.ceil(float(steps.default) * self.quality.steps)
            found["steps"] = int(min(wanted, steps.max))
        width, height = _spec(card, "width"), _spec(card, "height")
        if width is not None and height is not None:
            found["width"], found["height"] = self._sides(width, height)
        return found

    def _sides(self, width: ParamSpec, height: ParamSpec) -> tuple[int, int]:
        across, down = self.shape.width, self.shape.height
        scale = min(self.quality.scale, width.max / across, height.max / down)
        if scale == 1:
            return across, down
        return (
            max(int(across * scale) // _SIDE_STEP * _SIDE_STEP, int(width.min)),
            max(int(down * scale) // _SIDE_STEP * _SIDE_STEP, int(height.min)),
        )


def _spec(card: ModelCard, name: str) -> ParamSpec | None:
    """A parameter of the card, where it counts for pictures out of words."""
    spec = card.params.get(name)
    return spec if spec is not None and spec.of in ("", OPERATION) else None


def _unknown(field: str, name: str, known: Iterable[str], shown: int) -> InvalidRequest:
    names = list(known)
    near = difflib.get_close_matches(name[:64], names, n=shown, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Such as {', '.join(names[:shown])}."
    message = f"{name[:64]!r} is not a {field} here. {hint} GET /{field}s lists them all."
    return InvalidRequest([FieldError(field, message)])


def load_styles(path: Path = BUILT_IN) -> StyleBook:
    """Read and validate a file of styles. Raises SetupError naming every place that is wrong."""
    return load_data(path, StyleBook, "style book")


@functools.cache
def built_in_styles() -> StyleBook:
    """The styles that ship with the farm, read once a process."""
    return load_styles()
