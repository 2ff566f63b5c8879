"""``python -m models.tiny.evaluate``: how often the tiny checkpoints paint what a prompt says.

Without more it asks a model held-out prompts and prints a table. ``--judge FOLDER`` looks at
``1.png`` to ``9.png``, pictures of the contact sheet's prompts, and loads no model;
``--questions-json`` prints these prompts. Exits 0 when it has looked, whatever it saw, 1 when it
could not, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from farm.errors import FarmError
from models.base import pick_device
from models.tiny.evaluate import painter, prompts, scoring
from models.tiny.evaluate.prompts import CONTACT_SHEET, Question
from models.tiny.evaluate.scoring import Verdict
from models.tiny.evaluate.sheet import Cell, sheet
from models.tiny.scenes.draw import Pixels

_SHEET_SIDE = 512
_SIDES = (64, 2048)
_MOST_QUESTIONS, _MOST_WRONG = 5000, 36
_SAY_EVERY_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.questions_json:
            print(json.dumps(_contact_sheet(), indent=2))
            return 0
        if asked.judge is not None:
            return _judge_folder(asked.judge)
        return _evaluate(asked)
    except (FarmError, OSError) as error:
        print(f"The evaluation stopped: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.tiny.evaluate",
        description="Ask a tiny checkpoint for pictures, and count those that are right.",
    )
    parser.add_argument("--model", choices=tuple(painter.USUAL), default="sdxl")
    parser.add_argument("--questions", type=_number(0, _MOST_QUESTIONS), default=200, metavar="N")
    parser.add_argument("--size", type=_size, default=(512, 512), metavar="WxH")
    parser.add_argument("--steps", type=_number(1, 1000), help="the model's usual unless given")
    parser.add_argument("--guidance", type=float, help="the model's usual unless given")
    parser.add_argument("--seed", type=_number(0, 2**32 - 1), default=0, help="of the questions")
    parser.add_argument("--minutes", type=_number(1, 1440), default=120, help="after which to stop")
    parser.add_argument("--device", help="cpu or cuda:0; a GPU unless there is none")
    parser.add_argument("--cache", type=Path, help="where the checkpoint is built")
    parser.add_argument("--sheet", type=Path, help="paint the nine shown prompts too, into a PNG")
    parser.add_argument("--wrong", type=Path, help="save some wrong pictures in one PNG")
    parser.add_argument("--json", type=Path, help="save the scores in a file")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="look at 1.png to 9.png only")
    parser.add_argument("--questions-json", action="store_true", help="print the nine prompts")
    return parser


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(text)

    return read


def _size(text: str) -> tuple[int, int]:
    low, high = _SIDES
    sides = text.split("x")
    if len(sides) != 2 or not all(s.isdecimal() and low <= int(s) <= high for s in sides):
        raise argparse.ArgumentTypeError(f"must be like 512x512, each side {low} to {high}")
    return int(sides[0]), int(sides[1])


def _contact_sheet() -> list[dict[str, object]]:
    side = {"width": _SHEET_SIDE, "height": _SHEET_SIDE}
    return [
        {"prompt": each.prompt, "seed": each.seed, "kind": each.kind, **side}
        for each in CONTACT_SHEET
    ]


def _judge_folder(folder: Path) -> int:
    if not folder.is_dir():
        print(f"There is no folder {folder}. Name one with 1.png to 9.png.", file=sys.stderr)
        return 1
    wrong, unread = [], []
    for number, question in enumerate(CONTACT_SHEET, 1):
        file = folder / f"{number}.png"
        try:
            verdict = scoring.judge(question, _opened(file))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            reason = "is not there" if isinstance(error, FileNotFoundError) else f"is none: {error}"
            unread.append(f"The picture {file} {reason}.")
            continue
        if not verdict.right:
            wrong.append(f"  {number}.png, {question.prompt!r}: {'; '.join(verdict.why)}")
    count = len(CONTACT_SHEET)
    right = count - len(wrong) - len(unread)
    print(f"evaluator: {right} of {count} pictures show what their prompts say")
    for line in wrong:
        print(line)
    for line in unread:
        print(line, file=sys.stderr)
    return 1 if unread else 0


def _opened(file: Path) -> Pixels:
    with Image.open(file, formats=["png"]) as image:
        return np.asarray(image.convert("RGB"))


def _evaluate(asked: argparse.Namespace) -> int:
    steps, guidance = painter.USUAL[asked.model]
    width, height = asked.size
    settings = painter.Settings(
        width,
        height,
        steps if asked.steps is None else asked.steps,
        guidance if asked.guidance is None else asked.guidance,
    )
    device = asked.device or pick_device()
    questions = prompts.held_out_questions(asked.questions, asked.seed, aspect=width / height)
    wrong: list[Cell] = []
    with painter.opened(asked.model, settings, asked.cache, device) as paint:
        judged = _judged(paint, questions, 60.0 * asked.minutes, wrong)
        if asked.sheet:
            _save_sheet(asked.sheet, [_cell(q, *_looked(paint, q)) for q in CONTACT_SHEET])
    scores = scoring.tally(judged)
    if questions:
        print(f"{asked.model}-tiny, {width}x{height}, {settings.steps} steps, ", end="")
        print(f"guidance {settings.guidance:g}, seed {asked.seed}, {len(judged)} prompts\n")
        print(f"{scores.table}\n\n{scores.line}")
    if asked.json:
        asked.json.write_text(json.dumps(scores.as_json(), indent=2) + "\n")
    if asked.wrong and wrong:
        _save_sheet(asked.wrong, wrong, 6)
    return 0


def _judged(
    paint: painter.Painter, questions: Sequence[Question], within_s: float, wrong: list[Cell]
) -> list[tuple[Question, Verdict]]:
    """As many questions as there is time for, until somebody interrupts; some of the wrong
    pictures are added to ``wrong``."""
    judged: list[tuple[Question, Verdict]] = []
    started = said = time.monotonic()
    try:
        for question in questions:
            picture, verdict = _looked(paint, question)
            judged.append((question, verdict))
            if not verdict.right and len(wrong) < _MOST_WRONG:
                wrong.append(_cell(question, picture, verdict))
            now = time.monotonic()
            if now - said > _SAY_EVERY_S or len(judged) == len(questions):
                said = now
                _say(judged, len(questions), (now - started) / len(judged))
            if now - started > within_s and len(judged) < len(questions):
                print("The time is over; these are the scores so far.", file=sys.stderr)
                break
    except KeyboardInterrupt:
        print("Interrupted; these are the scores so far.", file=sys.stderr)
    return judged


def _say(judged: Sequence[tuple[Question, Verdict]], of: int, each_s: float) -> None:
    right = sum(verdict.right for _, verdict in judged)
    said = f"{len(judged)} of {of} painted, {right} right, {each_s:.1f} s each"
    print(said, file=sys.stderr, flush=True)


def _looked(paint: painter.Painter, question: Question) -> tuple[Pixels, Verdict]:
    picture = paint(question)
    return picture, scoring.judge(question, picture)


def _cell(question: Question, picture: Pixels, verdict: Verdict) -> Cell:
    return Cell(picture, question.prompt, verdict.right, "; ".join(verdict.why))


def _save_sheet(file: Path, cells: Sequence[Cell], columns: int = 3) -> None:
    sheet(cells, columns).save(file, format="png")
    print(f"{sum(bool(cell.right) for cell in cells)} of {len(cells)} right in {file}")


if __name__ == "__main__":
    sys.exit(main())
