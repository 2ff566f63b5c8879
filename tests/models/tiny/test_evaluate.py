"""Questions, verdicts and scores; the renderer stands for a model that is always right."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.tiny.evaluate.__main__ import main
from models.tiny.evaluate.painter import Settings, opened
from models.tiny.evaluate.prompts import (
    CONTACT_SHEET,
    Question,
    held_out_questions,
    tells_all,
)
from models.tiny.evaluate.scoring import Row, Scores, Verdict, judge, score, tally
from models.tiny.evaluate.sheet import Cell, sheet
from models.tiny.scenes import captions, sampling
from models.tiny.scenes.draw import Pixels, draw
from models.tiny.scenes.plan import Backing, Place, Relation, Scene, Size
from tests.models.tiny import damage

Look = Callable[[Pixels, np.random.Generator], Pixels]


def as_it_is(picture: Pixels, rng: np.random.Generator) -> Pixels:
    return picture


def painted(scene: Scene, seed: int = 0, size: tuple[int, int] = (512, 512)) -> Pixels:
    return draw(scene, *size, np.random.default_rng(seed))


def perfect(question: Question) -> Pixels:
    return painted(question.scene, question.seed)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return held_out_questions(60, 1)


def test_questions_are_of_what_training_never_shows(questions: list[Question]) -> None:
    assert len({question.prompt for question in questions}) == len(questions) == 60
    assert all(sampling.held_out(question.scene) for question in questions)


def test_questions_are_of_every_kind_and_the_same_for_a_seed(questions: list[Question]) -> None:
    kinds = Counter(question.kind for question in questions)
    assert set(kinds) == {"single", "pair", "trio", "count", "gradient", "two-tone", "photo"}
    assert kinds["single"] > kinds["pair"] > kinds["trio"]
    assert held_out_questions(60, 1) == questions
    assert held_out_questions(60, 2) != questions


@pytest.mark.parametrize("count", [0, 1, 7])
def test_there_are_as_many_questions_as_were_wanted(count: int) -> None:
    assert len(held_out_questions(count, 0)) == count


def test_a_prompt_tells_all_that_is_judged(questions: list[Question]) -> None:
    for question in questions:
        prompt, scene = question.prompt, question.scene
        assert tells_all(prompt, scene), prompt
        words = captions.SIZE_WORDS[scene.size]
        assert scene.size is Size.ANY or re.search(rf"\b({'|'.join(words)})\b", prompt), prompt
        told = any(words in prompt for words in captions.PLACE_WORDS[scene.place])
        assert scene.place is Place.ANYWHERE or told, prompt
        if len(scene.things) == 2 and question.kind == "pair":
            assert scene.relation not in (Relation.LOOSE, Relation.IN_A_ROW)
        if question.kind == "count" and scene.relation is Relation.IN_A_ROW:
            assert re.search("in a row|side by side", prompt), prompt


def test_prompts_have_only_words_of_captions_and_forms_of_their_own(
    questions: list[Question],
) -> None:
    rng = np.random.default_rng(2)
    said = [captions.caption(sampling.sample(rng), rng) for _ in range(4000)]
    words = {word for prompt in said for word in re.findall("[a-z]+", prompt)}
    asked = [question.prompt for question in (*questions, *CONTACT_SHEET)]
    assert {word for prompt in asked for word in re.findall("[a-z]+", prompt)} <= words
    # No caption begins so.
    assert any(prompt.startswith("on a ") and " table" not in prompt for prompt in asked)
    assert not any(prompt.startswith("on a ") and " table" not in prompt for prompt in said)


@pytest.mark.parametrize("look", [as_it_is, damage.decoded], ids=["drawn", "decoded"])
def test_right_pictures_are_right(questions: list[Question], look: Look) -> None:
    rng = np.random.default_rng(3)
    scores = score(lambda question: look(perfect(question), rng), questions)
    assert scores.row("everything").right >= 0.985 * len(questions), scores.table


@pytest.mark.parametrize("look", [as_it_is, damage.decoded], ids=["drawn", "decoded"])
def test_wrong_pictures_are_wrong(questions: list[Question], look: Look) -> None:
    rng = np.random.default_rng(4)
    asked: Counter[str] = Counter()
    passed = defaultdict(list)
    for question in questions[:20]:
        for mistake, scene in damage.mistakes(question, rng):
            asked[mistake] += 1
            if judge(question, look(painted(scene), rng)).right:
                passed[mistake].append((question.prompt, scene))
    assert len(asked) == 8
    assert min(asked.values()) >= 2, asked
    assert sum(map(len, passed.values())) <= 0.01 * sum(asked.values()), passed


def contact(words: str) -> Question:
    [question] = [question for question in CONTACT_SHEET if words in question.prompt]
    return question


def changed(question: Question, number: int, **changes: object) -> Verdict:
    things = list(question.scene.things)
    things[number] = dataclasses.replace(things[number], **changes)  # type: ignore[arg-type]
    return judge(question, painted(dataclasses.replace(question.scene, things=tuple(things))))


def test_a_verdict_says_which_part_is_wrong() -> None:
    pair = contact("red circle above")
    assert judge(pair, perfect(pair)) == Verdict(True, True, True, True)
    wrong = changed(pair, 0, colour="green", x=0.45)
    assert wrong.why == ("there are a green circle, a blue square",)
    beside = changed(pair, 0, x=0.2, y=0.73)
    assert (beside.background, beside.things, beside.layout, beside.right) == (
        True,
        True,
        False,
        False,
    )
    other = dataclasses.replace(pair.scene.background, colours=("white",))
    verdict = judge(pair, painted(dataclasses.replace(pair.scene, background=other)))
    assert (verdict.background, verdict.things, verdict.right) == (False, True, False)
    assert verdict.why == ("the background is white",)


def test_size_and_place_count_where_they_are_told() -> None:
    heart, cross = contact("large pink heart"), contact("top left corner")
    assert not changed(heart, 0, radius=0.13).size
    assert not changed(heart, 0, x=0.3).layout
    assert not changed(cross, 0, x=0.8).layout
    assert not changed(cross, 0, radius=0.24, x=0.3, y=0.3).size
    star = contact("white star on a gradient")
    assert changed(star, 0, radius=0.13, x=0.25, y=0.7).right


def test_a_row_has_an_order_and_a_count_has_none() -> None:
    row, stars = contact("from left to right"), contact("three green stars")
    assert not changed(row, 0, y=0.15).layout
    assert changed(stars, 0, y=0.2).right
    assert not changed(stars, 0, colour="white").right


def test_of_a_photograph_the_colours_and_the_place_count() -> None:
    mug = contact("mug")
    assert not changed(mug, 0, colour="red").things
    assert not changed(mug, 0, x=0.88, radius=0.1).layout
    ground = dataclasses.replace(mug.scene.background, colours=("grey", "white"))
    assert not judge(mug, painted(dataclasses.replace(mug.scene, background=ground))).background


def test_the_order_of_two_tones_counts_where_it_is_told() -> None:
    told = contact("yellow at the top")
    ground = dataclasses.replace(told.scene.background, colours=("green", "yellow"))
    picture = painted(dataclasses.replace(told.scene, background=ground))
    assert not judge(told, picture).background
    loose = dataclasses.replace(told, prompt="a black square, yellow and green background")
    assert judge(loose, picture).right


def test_noise_is_no_right_answer() -> None:
    rng = np.random.default_rng(5)
    for sigma in (2, 40):
        noise = cv2.GaussianBlur(rng.normal(0, 1, (256, 320, 3)).astype(np.float32), (0, 0), sigma)
        picture = np.clip(128 + 70 * noise / noise.std(), 0, 255).astype(np.uint8)
        assert not any(judge(question, picture).right for question in CONTACT_SHEET)


def test_scores_count_by_kind() -> None:
    wrong = Verdict(True, False, False, False)
    right = Verdict(True, True, True, True)
    cross, pair = contact("top left corner"), contact("red circle above")
    scores = tally([(cross, right), (cross, wrong), (pair, wrong)])
    rows = {row.name: (row.right, row.asked) for row in scores.rows}
    assert rows == {
        "single": (1, 2),
        "pair": (0, 1),
        "background": (3, 3),
        "position": (1, 2),
        "everything": (1, 3),
    }
    assert scores.line == (
        "held-out prompts: single 50 % of 2 (colour and shape), pair 0 % of 1, "
        "background 100 % of 3, position 50 % of 2, everything 33 % of 3"
    )
    assert scores.table.count("\n") == 1 + len(rows)
    assert json.loads(json.dumps(scores.as_json())) == scores.as_json()


def test_intervals_are_wilsons() -> None:
    # Worked by hand, as in Brown, Cai and DasGupta (2001), section 3.1.1.
    low, high = Row("", "", 9, 10).interval
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
    assert Row("", "", 0, 0).interval == (0.0, 1.0)
    assert Scores(()).line == "held-out prompts: none was asked"


def test_nine_prompts_are_shown_and_all_can_be_judged_right() -> None:
    assert len(CONTACT_SHEET) == len({question.prompt for question in CONTACT_SHEET}) == 9
    kinds = {question.kind for question in CONTACT_SHEET}
    assert kinds == {"single", "pair", "trio", "count", "gradient", "two-tone", "photo"}
    assert {question.scene.background.kind for question in CONTACT_SHEET} == set(Backing)
    for question in CONTACT_SHEET:
        assert tells_all(question.prompt, question.scene)
        assert judge(question, perfect(question)).right, question.prompt


def test_the_shown_prompts_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--questions-json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["prompt"], each["seed"]) for each in told] == [
        (question.prompt, question.seed) for question in CONTACT_SHEET
    ]


@pytest.fixture
def nine(tmp_path: Path) -> Path:
    """A folder with right pictures of the shown prompts."""
    for number, question in enumerate(CONTACT_SHEET, 1):
        Image.fromarray(perfect(question)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_a_folder_is_judged(nine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--judge", str(nine)]) == 0
    assert capsys.readouterr().out == "evaluator: 9 of 9 pictures show what their prompts say\n"
    (nine / "2.png").write_bytes((nine / "1.png").read_bytes())
    assert main(["--judge", str(nine)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "evaluator: 8 of 9 pictures show what their prompts say"
    assert second.startswith("  2.png, 'three green stars")
    assert "the background is yellow; there are" in second


def test_a_folder_without_all_pictures_is_an_error(
    nine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (nine / "3.png").unlink()
    (nine / "4.png").write_bytes(b"no picture")
    assert main(["--judge", str(nine)]) == 1
    told = capsys.readouterr()
    assert "7 of 9" in told.out
    assert f"{nine / '3.png'} is not there" in told.err
    assert f"{nine / '4.png'} is none" in told.err
    assert main(["--judge", str(nine / "5.png")]) == 1
    assert "There is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--size 512",
        "--size 9x512",
        "--questions -1",
        "--questions 99999",
        "--model wan",
        "--steps 0",
    ],
)
def test_a_wrong_command_line_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    assert "error: argument" in capsys.readouterr().err


def test_a_sheet_has_every_picture_with_its_words() -> None:
    picture = np.full((200, 400, 3), (0, 120, 255), np.uint8)
    cells = [Cell(picture, "a blue background", right=n % 2 == 0, remark="why") for n in range(5)]
    drawn = np.asarray(sheet(cells, columns=2)).astype(int)
    blue = np.abs(drawn - (0, 120, 255)).sum(axis=2) < 10
    # Five pictures of 320 x 160 in two columns and three rows.
    assert blue.sum() == 5 * 320 * 160
    assert (np.abs(drawn - (34, 139, 60)).sum(axis=2) < 10).any()
    with pytest.raises(ValueError, match="needs a picture"):
        sheet([])


def test_a_model_is_asked_as_a_worker_asks_it(
    tiny_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, told = tmp_path / "wrong.png", tmp_path / "scores.json"
    words = f"--model flux-schnell --questions 2 --size 256x320 --steps 1 --cache {tiny_cache}"
    # One step is too few for a picture; that they are asked, counted and kept is what is seen.
    assert (
        main([*words.split(), "--device", "cpu", "--wrong", str(wrong), "--json", str(told)]) == 0
    )
    seen = capsys.readouterr()
    assert "flux-schnell-tiny, 256x320, 1 steps, guidance 0, seed 0, 2 prompts" in seen.out
    assert "2 of 2 painted" in seen.err
    rows = {row["name"]: row for row in json.loads(told.read_text())["rows"]}
    assert rows["everything"]["asked"] == 2
    assert wrong.exists() == (rows["everything"]["right"] < 2)


def test_a_painter_gives_the_size_and_the_seed(tiny_cache: Path) -> None:
    question = contact("red circle above")
    with opened("flux-schnell", Settings(320, 256, 1, 0.0), tiny_cache, "cpu") as paint:
        first, again = paint(question), paint(question)
        other = paint(dataclasses.replace(question, seed=2))
    assert first.shape == (256, 320, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_model_that_cannot_be_built_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main(["--questions", "1", "--cache", str(file), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("The evaluation stopped: ")
