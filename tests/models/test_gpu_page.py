"""How ``tests/gpu`` measures and keeps what it measured."""

from __future__ import annotations

import datetime
from pathlib import Path

from tests.gpu import measure
from tests.gpu.measure import Line

NOW = datetime.datetime(2026, 2, 18, 10, 30, tzinfo=datetime.UTC)


def test_contenders_take_turns_and_are_waited_for() -> None:
    order: list[str] = []
    contenders = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    seconds = measure.in_turns(contenders, 2, lambda: order.append("settled"))
    assert order == ["settled", "a", "settled", "settled", "b", "settled"] * 2
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_faster_is_the_median_of_each_rounds_ratio() -> None:
    assert measure.faster([1.0, 2.0, 1.0], [2.0, 8.0, 3.0]) == 3.0


def test_a_section_is_replaced_by_the_next_run_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    for title, figure in (("sdxl", "3 s"), ("flux", "1 s"), ("sdxl", "2 s")):
        measure.keep(title, [Line("a picture", figure, "2 x")], "a GPU", NOW, page)
    text = page.read_text()
    assert text.startswith("# What was measured on a GPU\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## flux", "## sdxl"]
    assert "| a picture | 2 s | 2 x |" in text
    assert "3 s" not in text
    assert "2026-02-18 10:30 UTC on a GPU." in text
