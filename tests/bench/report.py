"""A figure, the table of figures, and the page that keeps the last whole run."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

RESULTS = Path(__file__).with_name("RESULTS.md")
_COLUMNS = ("figure", "what", "ours", "peer", "ratio", "must", "aim", "verdict")
_PACKAGES = (
    "celery",
    "kombu",
    "flask",
    "gunicorn",
    "sqlalchemy",
    "psycopg2-binary",
    "redis",
    "pillow",
    "opencv-python-headless",
)


@dataclass(frozen=True, slots=True)
class Bound:
    """``least`` means that a ratio must not be below ``value``, else not above it."""

    value: float
    least: bool = False

    def met_by(self, ratio: float) -> bool:
        """Whether a ratio is on the right side."""
        return ratio >= self.value if self.least else ratio <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. ``ours`` and ``peer`` are for people, ``ratio`` is what counts."""

    id: str
    what: str
    ours: str
    peer: str
    ratio: float
    must: Bound | None = None
    aim: Bound | None = None

    @property
    def missed(self) -> bool:
        """Whether the farm must not be released like this."""
        return self.must is not None and not self.must.met_by(self.ratio)

    @property
    def verdict(self) -> str:
        """One word for the table."""
        if self.missed:
            return "MISSED"
        if self.aim is not None and self.aim.met_by(self.ratio):
            return "aim met"
        return "must met" if self.must is not None else "reported"

    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        bounds = (str(bound) if bound else "" for bound in (self.must, self.aim))
        return (
            self.id,
            self.what,
            self.ours,
            self.peer,
            f"{self.ratio:.3g}",
            *bounds,
            self.verdict,
        )


def at_least(value: float) -> Bound:
    """More is better."""
    return Bound(value, least=True)


def at_most(value: float) -> Bound:
    """Less is better."""
    return Bound(value)


def median_ratio(ours: Sequence[float], peers: Sequence[float]) -> float:
    """The median over rounds of ours / peer, so that a slow minute hits both sides alike."""
    return statistics.median(a / b for a, b in zip(ours, peers, strict=True))


def milliseconds(seconds: Sequence[float]) -> str:
    """The median of some times, for a cell."""
    return f"{statistics.median(seconds) * 1000:.2f} ms"


def per_second(rates: Sequence[float]) -> str:
    """The median of some rates, for a cell."""
    return f"{statistics.median(rates):.0f} /s"


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table that is also readable as it is."""
    return aligned([_COLUMNS, *(figure.row() for figure in figures)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the head, as a Markdown table with straight columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def write_results(figures: Sequence[Figure], seconds: float, postgres: str, redis: str) -> None:
    """Keep a whole run, with the machine it ran on."""
    RESULTS.write_text(
        f"""# What `make bench` measured last

{table(figures)}

Ratios are medians over rounds of ours / peer, measured in turns in the same run; `ours` and
`peer` are medians of their own. Where there is no peer, `ratio` is the figure itself. The bounds
are the ones the run fails on (`must`) and the ones aimed at (`aim`).

{machine(seconds, f"PostgreSQL {postgres} (fsync on), Redis {redis}")}
""",
        encoding="utf-8",
    )


def machine(seconds: float, servers: str) -> str:
    """The table of what a run took and what it ran on."""
    memory_gib = psutil.virtual_memory().total / (1 << 30)
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return f"""| machine | |
|---|---|
| date | {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {seconds / 60:.1f} minutes |
| processor | {_processor()}, {os.cpu_count()} cores |
| memory | {memory_gib:.0f} GiB |
| system | {platform.system()} {platform.release()} |
| Python | {platform.python_version()} |
| servers | {servers} |
| packages | {packages} |"""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
