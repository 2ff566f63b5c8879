"""The contact sheet of ``farm demo``: every picture as it is, and its words beneath."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from farm.cli.demo.client import DemoFailed
from farm.cli.demo.contact_sheet import SIDE_PX, Cell, boxes, drawn, judged, questions, size
from models.tiny.evaluate.prompts import CONTACT_SHEET
from models.tiny.scenes.captions import caption
from models.tiny.scenes.draw import draw
from models.tiny.scenes.sampling import sample

LONG = "a very large turquoise bottle " * 9


@pytest.fixture
def cells() -> list[Cell]:
    """Nine scenes with their captions, one of them far too long."""
    rng = np.random.default_rng(5)
    scenes = [sample(rng) for _ in range(9)]
    pictures = [Image.fromarray(draw(scene, SIDE_PX, SIDE_PX, rng)) for scene in scenes]
    words = [caption(scene, rng) for scene in scenes[:-1]] + [LONG]
    return [Cell(each, said, "sdxl, seed 7") for each, said in zip(pictures, words, strict=True)]


def test_each_picture_stands_in_its_place_unchanged(cells: list[Cell]) -> None:
    sheet = drawn(cells)
    assert sheet.size == size(9)
    for number, cell in enumerate(cells):
        there = sheet.crop(boxes(number)[0])
        assert ImageChops.difference(there, cell.picture).getbbox() is None


def test_words_stay_beneath_their_own_picture(cells: list[Cell]) -> None:
    sheet = drawn(cells)
    for number in range(9):
        picture, words = boxes(number)
        assert sheet.crop(words).convert("L").getextrema()[0] < 64
        for box in (picture, words):
            # One pixel more, for the edge that is drawn around pictures.
            sheet.paste("white", (box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1))
    assert sheet.getextrema() == ((255, 255),) * 3


def test_a_row_that_is_not_full_has_its_room(cells: list[Cell]) -> None:
    assert drawn(cells[:4]).size == size(4) == size(6)
    assert size(4)[1] > size(3)[1]


def test_the_evaluation_asks_and_judges_in_the_same_order(tmp_path: Path) -> None:
    asked = questions()
    assert [(each.prompt, each.seed) for each in asked] == [
        (each.prompt, each.seed) for each in CONTACT_SHEET
    ]
    assert [each.model for each in asked] == ["sdxl"] * 6 + ["flux-schnell"] * 3
    rng = np.random.default_rng(3)
    for number, question in enumerate(CONTACT_SHEET, 1):
        picture = draw(question.scene, SIDE_PX, SIDE_PX, rng)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    assert "9 of 9 pictures" in judged(tmp_path)
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes())
    assert "8 of 9 pictures" in judged(tmp_path)


def test_an_evaluation_that_cannot_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="There is no folder"):
        judged(tmp_path / "nowhere")
