"""Measuring in turns, and the page that keeps what was measured on a GPU."""

from __future__ import annotations

import contextlib
import datetime
import platform
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

RESULTS = Path(__file__).with_name("RESULTS.md")

_HEAD = """# What was measured on a GPU

The tests in `tests/gpu` write this page and nobody else does: a section a model, each from
the last run on it, with the machine it ran on. The architectures are full-size, the weights
random.
"""
_PACKAGES = ("torch", "triton", "diffusers", "transformers")

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: what was measured, the figure with its unit, and a remark."""

    what: str
    figure: str
    remark: str = ""


def in_turns(contenders: Mapping[str, Run], rounds: int, settle: Run) -> dict[str, list[float]]:
    """Seconds of each contender in each round; every round runs all of them, one by one.

    ``settle`` waits for a device to have done everything that it was told to do.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            settle()
            started = time.perf_counter()
            run()
            settle()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def faster(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as fast ours are: the median over the rounds."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def device_line() -> str:
    """The GPU, its driver's CUDA, and the packages that do the work."""
    import torch

    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    where = torch.cuda.get_device_properties(0)
    memory = where.total_memory / 2**30
    return (
        f"{where.name}, {memory:.0f} GiB; CUDA {torch.version.cuda}; "
        f"Python {platform.python_version()}, {packages}"
    )


@contextlib.contextmanager
def section(title: str) -> Iterator[list[Line]]:
    """A list for the lines of a section; they are kept at the end, if there are any."""
    lines: list[Line] = []
    yield lines
    if lines:
        keep(title, lines, device_line(), datetime.datetime.now(datetime.UTC))


def needs_disk(folder: Path, size: int, model_id: str) -> None:
    """Skip the test where a folder has less than ``size`` free bytes for a model's weights."""
    if shutil.disk_usage(folder).free < size:
        pytest.skip(f"{model_id} needs {size / 2**30:.0f} GiB of disk in {folder}")


def keep(
    title: str,
    lines: Sequence[Line],
    machine: str,
    now: datetime.datetime,
    path: Path = RESULTS,
) -> None:
    """Put a section into the page, in place of the one of the same title."""
    rows = [f"| {line.what} | {line.figure} | {line.remark} |" for line in lines]
    said = f"{now:%Y-%m-%d %H:%M} UTC on {machine}."
    section = "\n".join(
        [f"## {title}", "", said, "", "| what | figure | |", "|---|---|---|", *rows]
    )
    before = path.read_text(encoding="utf-8") if path.exists() else _HEAD
    head, *sections = re.split(r"\n(?=## )", before)
    kept = [s.strip() for s in sections if s.splitlines()[0] != f"## {title}"]
    text = "\n\n".join([head.strip(), *sorted([*kept, section])])
    path.write_text(text + "\n", encoding="utf-8")
