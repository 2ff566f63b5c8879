"""Pictures in a grid, each with its prompt beneath and a mark that says whether it is right."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from models.tiny.scenes.draw import Pixels

_WIDTH, _GAP, _LINE = 320, 16, 20
_LETTERS = 42
"""Of a line beneath a picture."""
_PAPER, _INK = (255, 255, 255), (40, 40, 44)
_RIGHT, _WRONG = (34, 139, 60), (200, 40, 40)


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture (height x width x 3, sRGB) and its prompt; ``right`` is None where nobody looked,
    ``remark`` is printed beneath the prompt."""

    picture: Pixels
    prompt: str
    right: bool | None = None
    remark: str = ""


def sheet(cells: Sequence[Cell], columns: int = 3) -> Image.Image:
    """The cells in rows, from left to right.

    Raises:
        ValueError: there is none.
    """
    if not cells:
        raise ValueError("a sheet needs a picture")
    columns = min(columns, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(_height(cell) for cell in row) for row in rows]
    paper = Image.new(
        "RGB",
        (_GAP + columns * (_WIDTH + _GAP), _GAP + sum(height + _GAP for height in heights)),
        _PAPER,
    )
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for place, cell in enumerate(row):
            _paste(paper, cell, _GAP + place * (_WIDTH + _GAP), top)
        top += height + _GAP
    return paper


def _paste(paper: Image.Image, cell: Cell, left: int, top: int) -> None:
    picture = Image.fromarray(cell.picture).resize((_WIDTH, _shown(cell)), Image.Resampling.LANCZOS)
    paper.paste(picture, (left, top))
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(15)
    line = top + picture.height + 8
    if cell.right is not None:
        _mark(pen, left, line + 2, right=cell.right)
    for words, ink in _lines(cell):
        pen.text((left + 22, line), words, fill=ink, font=font)
        line += _LINE


def _mark(pen: ImageDraw.ImageDraw, x: int, y: int, *, right: bool) -> None:
    """A tick, or a cross; drawn, as not every font has them."""
    if right:
        pen.line([(x, y + 7), (x + 5, y + 12), (x + 14, y + 1)], fill=_RIGHT, width=3)
        return
    pen.line([(x + 1, y + 1), (x + 13, y + 13)], fill=_WRONG, width=3)
    pen.line([(x + 1, y + 13), (x + 13, y + 1)], fill=_WRONG, width=3)


def _lines(cell: Cell) -> list[tuple[str, tuple[int, int, int]]]:
    said = [(words, _INK) for words in textwrap.wrap(cell.prompt, _LETTERS)]
    return said + [(words, _WRONG) for words in textwrap.wrap(cell.remark, _LETTERS)]


def _shown(cell: Cell) -> int:
    """Its height on the sheet, in pixels."""
    height, width = cell.picture.shape[:2]
    return max(1, int(height) * _WIDTH // int(width))


def _height(cell: Cell) -> int:
    return _shown(cell) + 8 + _LINE * len(_lines(cell))
