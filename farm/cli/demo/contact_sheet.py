"""Nine prompts painted by the farm, on one sheet with the words beneath.

Prompts and judgement are those of the built-in checkpoints' evaluation. The engines' package is
never imported here: it is asked in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

from farm.cli.demo.client import Client, DemoFailed

NAME, FOLDER = "contact-sheet.png", "contact-sheet"
"""The sheet, and where its pictures are saved one by one: ``1.png``, ``2.png``, …"""
SIDE_PX = 512
COLUMNS = 3
ROWS_BY = ("sdxl", "sdxl", "flux-schnell")
"""Which model paints each row; the last one what comes after."""
SHEET_S = 300.0
"""For all the pictures together."""
_GAP_PX, _CAPTION_PX, _TEXT_PX = 24, 88, 22
_INK, _FAINT, _EDGE = (24, 24, 27), (112, 115, 120), (214, 216, 219)
_EVALUATE = ("-m", "models.tiny.evaluate")
_EVALUATE_S = 120.0

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of the sheet: the prompt that it was painted from, and by what."""

    picture: Image.Image
    prompt: str
    note: str


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, its seed and the model that paints it."""

    prompt: str
    seed: int
    model: str


def contact_sheet(client: Client, out: Path) -> float:
    """Submit all prompts, wait for all, save the pictures and the sheet, say how many are right.
    Credits spent.

    Raises:
        DemoFailed: a job failed or took too long, or the evaluation did not run.
    """
    asked_for = questions()
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    asked = [client.post("/v1/image/generate", _body(question)) for question in asked_for]
    click.echo(f"contact sheet: {len(asked)} prompts submitted")
    cells, spent = [], 0.0
    for number, (question, submitted) in enumerate(zip(asked_for, asked, strict=True), 1):
        name, job_id = f"contact sheet, picture {number}", submitted["generation_id"]
        job = client.wait(name, job_id, deadline=started + SHEET_S, quiet=True)
        content, picture = client.picture(job)
        if picture.size != (SIDE_PX, SIDE_PX):
            raise DemoFailed(f"{name}: it has {picture.size} pixels, not {SIDE_PX}x{SIDE_PX}.")
        (folder / f"{number}.png").write_bytes(content)
        note = f"{question.model}, seed {question.seed}, by {job['served_by']}"
        cells.append(Cell(picture.convert("RGB"), question.prompt, note))
        spent += job["credits_used"]
        if number % COLUMNS == 0 or number == len(asked):
            click.echo(f"contact sheet: {number} of {len(asked)} painted")
    seconds = time.monotonic() - started
    path = out / NAME
    drawn(cells).save(path)
    click.echo(f"{path}  {len(cells)} prompts  {seconds:.1f} s  {spent:g} credits")
    click.echo(judged(folder))
    return spent


def drawn(cells: Sequence[Cell]) -> Image.Image:
    """The pictures in rows on white, each with its prompt beneath, and what painted it."""
    sheet = Image.new("RGB", size(len(cells)), "white")
    draw = ImageDraw.Draw(sheet)
    prompt_font = ImageFont.load_default(_TEXT_PX)
    note_font = ImageFont.load_default(_TEXT_PX * 3 // 4)
    for number, cell in enumerate(cells):
        left, top = boxes(number)[0][:2]
        # The edge is for white pictures, which would have none.
        draw.rectangle((left - 1, top - 1, left + SIDE_PX, top + SIDE_PX), outline=_EDGE)
        sheet.paste(cell.picture, (left, top))
        top += SIDE_PX + _GAP_PX // 3
        for line in _lines(cell.prompt, prompt_font):
            draw.text((left, top), line, _INK, prompt_font)
            top += _TEXT_PX * 5 // 4
        draw.text((left, top), cell.note, _FAINT, note_font)
    return sheet


def size(cells: int) -> tuple[int, int]:
    """Width and height of a sheet in pixels."""
    width, height = COLUMNS, -(-cells // COLUMNS)
    return (
        _GAP_PX + width * (SIDE_PX + _GAP_PX),
        _GAP_PX + height * (SIDE_PX + _CAPTION_PX + _GAP_PX),
    )


def boxes(number: int) -> tuple[Box, Box]:
    """Where a picture is, counted from 0 along the rows, and its words: left, top, right and
    bottom in pixels."""
    row, column = divmod(number, COLUMNS)
    left, top = _GAP_PX + column * (SIDE_PX + _GAP_PX), size(row * COLUMNS)[1]
    right, middle = left + SIDE_PX, top + SIDE_PX
    return (left, top, right, middle), (left, middle + 1, right, middle + _CAPTION_PX)


def _lines(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> Iterator[str]:
    """The text in two lines at most, none wider than a picture."""
    words, line = text.split(), ""
    for number, word in enumerate(words):
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > SIDE_PX:
            yield line
            rest = " ".join(words[number:])
            while font.getlength(rest) > SIDE_PX:
                rest = rest.removesuffix("…")[:-1] + "…"
            yield rest
            return
        line = longer
    yield line


def questions() -> list[Question]:
    """What the sheet shows, in its order.

    Raises:
        DemoFailed: the evaluation did not run.
    """
    asked = json.loads(_evaluate("--questions-json"))
    return [
        Question(each["prompt"], each["seed"], ROWS_BY[min(place // COLUMNS, len(ROWS_BY) - 1)])
        for place, each in enumerate(asked)
    ]


def judged(folder: Path) -> str:
    """What the evaluation says of ``1.png``, ``2.png``, … there: how many are right, and what is
    wrong with the others.

    Raises:
        DemoFailed: the evaluation did not run.
    """
    return _evaluate("--judge", str(folder)).strip()


def _body(question: Question) -> dict[str, str | int]:
    return {
        "model": question.model,
        "prompt": question.prompt,
        "seed": question.seed,
        "width": SIDE_PX,
        "height": SIDE_PX,
    }


def _evaluate(*words: str) -> str:
    """What the evaluation of the built-in checkpoints prints."""
    try:
        done = subprocess.run(
            [sys.executable, *_EVALUATE, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_EVALUATE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DemoFailed(f"The evaluation did not end within {_EVALUATE_S:g} s.") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise DemoFailed(f"The pictures could not be judged: {last[0]}")
    return done.stdout
