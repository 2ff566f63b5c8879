"""The figures of ``make faults``, and the page that keeps the last whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.report import Bound, aligned, machine

RESULTS = Path(__file__).parent.with_name("RESULTS.md")
_COLUMNS = ("figure", "what", "found", "must", "aim", "verdict", "seconds")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. ``value`` is held against the bounds, ``found`` says it to people with whatever
    counts belong to it; ``took_s`` is how long it took to find out."""

    id: str
    what: str
    found: str
    value: float
    took_s: float
    must: Bound
    aim: Bound | None = None

    @property
    def missed(self) -> bool:
        """Whether the farm must not be released like this."""
        return not self.must.met_by(self.value)

    @property
    def verdict(self) -> str:
        """One word or two for the table."""
        if self.missed:
            return "MISSED"
        return "must met" if self.aim and not self.aim.met_by(self.value) else "aim met"

    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        aim = str(self.aim) if self.aim else ""
        seconds = f"{self.took_s:.0f}"
        return (self.id, self.what, self.found, str(self.must), aim, self.verdict, seconds)


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table that is also readable as it is."""
    return aligned([_COLUMNS, *(figure.row() for figure in figures)])


def write_results(figures: Sequence[Figure], seed: int, seconds: float, servers: str) -> None:
    """Keep a whole run, with its seed and the machine it ran on."""
    RESULTS.write_text(
        f"""# What `make faults` found last

{table(figures)}

Every figure was found on real processes: gunicorn, Celery's prefork workers, beat, PostgreSQL,
Redis. A violation is whatever the oracle (`tests/faults/trial/oracle.py`) or the audit complains
of: a job that was acknowledged and is lost, charged twice, charged without its file, or never
ends. `must` is what a run fails on, `aim` what is aimed at. Seed {seed}.

{machine(seconds, servers)}
""",
        encoding="utf-8",
    )
