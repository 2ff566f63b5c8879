"""How often pictures show what their prompts say."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from models.tiny.evaluate import prompts, reader
from models.tiny.evaluate.prompts import Question
from models.tiny.evaluate.reader import Reading, Seen
from models.tiny.scenes.draw import Pixels
from models.tiny.scenes.plan import Backing, Place, Product, Relation, Scene, Size

_LARGE_FROM, _SMALL_TO = 0.22, 0.17
"""Radii. Training has large things from 0.26 and small ones to 0.14; things of no told size lie
between 0.15 and 0.25."""
_CLEARLY = 0.12
"""How much farther left or up one thing is than the other, in parts of a side, at the least."""
_LEVEL = 0.2
"""How far up or down the things of a row differ at the most."""
_LOW, _HIGH = (0.0, 0.45), (0.55, 1.0)
_MIDDLE, _NEAR_MIDDLE = (0.4, 0.6), (0.33, 0.67)
_ON_THE_TABLE = ((0.2, 0.8), (0.2, 0.85))
_CELLS: dict[Place, tuple[tuple[float, float], tuple[float, float]]] = {
    Place.MIDDLE: (_MIDDLE, _MIDDLE),
    Place.LEFT: (_LOW, _NEAR_MIDDLE),
    Place.RIGHT: (_HIGH, _NEAR_MIDDLE),
    Place.TOP: (_NEAR_MIDDLE, _LOW),
    Place.BOTTOM: (_NEAR_MIDDLE, _HIGH),
    Place.TOP_LEFT: (_LOW, _LOW),
    Place.TOP_RIGHT: (_HIGH, _LOW),
    Place.BOTTOM_LEFT: (_LOW, _HIGH),
    Place.BOTTOM_RIGHT: (_HIGH, _HIGH),
}
"""Where the centre of a thing is, across and down."""
_ORDER_TOLD = re.compile(r"(background|backdrop) \w+ at the (top|left) and")
_Z = 1.959964
"""Of a normal distribution, 95 % lie within so many deviations."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a picture shows what was asked. ``things`` are their number, shapes and colours;
    ``layout`` is the place of a single thing or the relation of several; ``size`` is a single
    one's, where it was told; ``right`` is all of it; ``why`` says what is wrong."""

    background: bool
    things: bool
    layout: bool
    right: bool
    size: bool = True
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """So many of those asked are right; ``name`` is short, ``about`` says what was looked at."""

    name: str
    about: str
    right: int
    asked: int

    @property
    def share(self) -> float:
        """The part that is right; 0 where nothing was asked."""
        return self.right / self.asked if self.asked else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval (Wilson, 1927)."""
        if not self.asked:
            return 0.0, 1.0
        spread = _Z**2 / self.asked
        middle = (self.share + spread / 2) / (1 + spread)
        inside = self.share * (1 - self.share) / self.asked + spread / self.asked / 4
        reach = _Z * math.sqrt(inside) / (1 + spread)
        return max(0.0, middle - reach), min(1.0, middle + reach)


@dataclass(frozen=True, slots=True)
class Scores:
    """What was right, a row a kind; rows of which nothing was asked are left out."""

    rows: tuple[Row, ...]
    title: str = "held-out prompts"

    def row(self, name: str) -> Row:
        """The row of a name; an empty one where nothing of the kind was asked."""
        return next((row for row in self.rows if row.name == name), Row(name, "", 0, 0))

    @property
    def line(self) -> str:
        """All of it in one line, for people."""
        said = [f"{row.name} {100 * row.share:.0f} % of {row.asked}" for row in self.rows]
        said = [
            f"{words} (colour and shape)" if row.name == prompts.SINGLE else words
            for words, row in zip(said, self.rows, strict=True)
        ]
        return f"{self.title}: {', '.join(said) or 'none was asked'}"

    @property
    def table(self) -> str:
        """All of it as a table in Markdown, with intervals."""
        lines = ["| asked for | right | of | share | 95 % interval |", "|---|--:|--:|--:|--:|"]
        for row in self.rows:
            low, high = (100 * end for end in row.interval)
            share = f"{100 * row.share:.1f} % | {low:.1f} - {high:.1f} %"
            lines.append(f"| {row.name}: {row.about} | {row.right} | {row.asked} | {share} |")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """All of it as plain JSON values."""
        rows = [
            {**asdict(row), "share": row.share, "interval": list(row.interval)} for row in self.rows
        ]
        return {"title": self.title, "rows": rows}


def score(paint: Callable[[Question], Pixels], questions: Sequence[Question]) -> Scores:
    """Have every question painted, and count what is right."""
    return tally((question, judge(question, paint(question))) for question in questions)


def tally(judged: Iterable[tuple[Question, Verdict]], title: str = "held-out prompts") -> Scores:
    """The scores of pictures that were judged already."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for question, verdict in judged:
        for name, good in _counted(question, verdict).items():
            asked[name] += 1
            right[name] += good
    rows = [Row(name, about, right[name], asked[name]) for name, about in _ROWS.items()]
    return Scores(tuple(row for row in rows if row.asked), title)


_ROWS = {
    prompts.SINGLE: "one thing, its colour and shape",
    prompts.PAIR: "two things, how they lie, the background",
    "background": "a plain one's colour",
    "position": "where a single thing is",
    prompts.COUNT: "two or three of a kind, and no more",
    prompts.TRIO: "three in a row, in their order, and the background",
    prompts.GRADIENT: "the thing or things, and both colours",
    prompts.TWO_TONE: "the thing or things, and both colours",
    prompts.PHOTO: "a product's colour, the wall and the table",
    "everything": "all that a prompt says",
}
"""What each row looks at, in the order that they are shown in."""


def _counted(question: Question, verdict: Verdict) -> dict[str, bool]:
    """In which rows a picture counts, and whether as a right one."""
    by_things = question.kind in (prompts.SINGLE, prompts.COUNT)
    counted = {question.kind: verdict.things if by_things else verdict.right}
    if question.scene.background.kind is Backing.PLAIN:
        counted["background"] = verdict.background
    if question.kind == prompts.SINGLE and question.scene.place is not Place.ANYWHERE:
        counted["position"] = verdict.layout
    return {**counted, "everything": verdict.right}


def judge(question: Question, picture: Pixels) -> Verdict:
    """Whether a picture (height x width x 3, sRGB) shows what its prompt says.

    Raises:
        ValueError: it is no such picture; see :func:`models.tiny.evaluate.reader.read`.
    """
    scene, seen = question.scene, reader.read(picture)
    background = _background_right(question, seen)
    things = _things_right(scene, seen)
    layout = _layout_right(scene, seen.things)
    size = _size_right(scene, seen.things)
    why = []
    if not background:
        why.append(f"the background is {_said(seen.kind, seen.background)}")
    if not things:
        why.append(f"there {_listed(seen.things)}")
    elif not layout:
        where = ", ".join(f"{_called(each)} at {each.x:.2f}, {each.y:.2f}" for each in seen.things)
        why.append(f"the layout is another ({where})")
    if things and not size:
        why.append(f"it is not {scene.size}")
    right = background and things and layout and size
    return Verdict(background, things, layout, right, size, tuple(why))


def _background_right(question: Question, seen: Reading) -> bool:
    wanted = question.scene.background
    if wanted.kind is Backing.TWO_TONE and not _ORDER_TOLD.search(question.prompt):
        alike = sorted(seen.background) == sorted(wanted.colours)
        return alike and seen.kind in (Backing.TWO_TONE, Backing.TABLE)
    if seen.background != wanted.colours:
        return False
    if wanted.kind in (Backing.TWO_TONE, Backing.TABLE):
        # They differ by the light on the table alone, which a dark one does not show.
        return seen.kind in (Backing.TWO_TONE, Backing.TABLE) and seen.upright == wanted.upright
    return seen.kind is wanted.kind


def _things_right(scene: Scene, seen: Reading) -> bool:
    if any(isinstance(thing.shape, Product) for thing in scene.things):
        # Products have outlines of all kinds; their colour is what is looked at.
        wanted = sorted(thing.colour for thing in scene.things)
        return wanted == sorted(each.colour for each in seen.things)
    asked = Counter((str(thing.shape), thing.colour) for thing in scene.things)
    return asked == Counter((str(each.shape), each.colour) for each in seen.things)


def _layout_right(scene: Scene, seen: Sequence[Seen]) -> bool:
    if len(seen) != len(scene.things):
        return False
    if len(seen) == 1:
        table = scene.background.kind is Backing.TABLE
        cell = _ON_THE_TABLE if table else _CELLS.get(scene.place)
        return cell is None or _within(seen[0], cell)
    if scene.relation is Relation.LOOSE:
        return True
    if scene.relation is not Relation.IN_A_ROW:
        return _relation_right(scene, seen)
    names = [(each.shape, each.colour) for each in seen]
    level = max(each.y for each in seen) - min(each.y for each in seen) < _LEVEL
    apart = all(right.x - left.x > _CLEARLY for left, right in itertools.pairwise(seen))
    return level and apart and names == [(each.shape, each.colour) for each in scene.things]


def _relation_right(scene: Scene, seen: Sequence[Seen]) -> bool:
    places: list[tuple[float, float]] = []
    for thing in scene.things:
        own = [each for each in seen if (each.shape, each.colour) == (thing.shape, thing.colour)]
        if len(own) != 1:
            return False
        places.append((own[0].x, own[0].y))
    (x, y), (other_x, other_y) = places
    across, down = other_x - x, other_y - y
    ahead, aside = {
        Relation.LEFT_OF: (across, down),
        Relation.RIGHT_OF: (-across, down),
        Relation.ABOVE: (down, across),
        Relation.BELOW: (-down, across),
    }[scene.relation]
    return ahead > _CLEARLY and ahead > 0.8 * abs(aside)


def _within(seen: Seen, cell: tuple[tuple[float, float], tuple[float, float]]) -> bool:
    (left, right), (top, bottom) = cell
    return left <= seen.x <= right and top <= seen.y <= bottom


def _size_right(scene: Scene, seen: Sequence[Seen]) -> bool:
    if scene.size is Size.LARGE:
        return all(each.radius >= _LARGE_FROM for each in seen)
    return scene.size is not Size.SMALL or all(each.radius <= _SMALL_TO for each in seen)


def _said(kind: Backing, names: Sequence[str]) -> str:
    return f"{' and '.join(names)}" + ("" if kind is Backing.PLAIN else f" ({kind})")


def _listed(seen: Sequence[Seen]) -> str:
    if not seen:
        return "is nothing"
    names = [f"{'an' if each.colour[0] in 'aou' else 'a'} {_called(each)}" for each in seen]
    return f"{'is' if len(seen) == 1 else 'are'} {', '.join(names)}"


def _called(seen: Seen) -> str:
    return f"{seen.colour} {seen.shape or 'thing of no known shape'}"
