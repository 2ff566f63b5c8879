"""``python -m tests.bench [B1 ...]``: measure, print the table, fail on a missed ``must``.

Without names all figures are measured, and RESULTS.md is written. Names of the same group
(B1, B1b and B2; B3 and B4; W1 and W2; all P) are measured together.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import (
    cancelling,
    foresight,
    growth,
    latency,
    pictures,
    shops,
    switches,
    trips,
    waiting,
    web,
    webhooks,
)
from tests.bench.report import Figure, table, write_results
from tests.bench.stage import Stage, open_stage

Group = Callable[[Stage], list[Figure]]
GROUPS: dict[str, tuple[tuple[str, ...], Group]] = {
    "requests a second": (("B1", "B1b", "B2"), web.measure),
    "from submit to running": (("B3", "B4"), latency.measure),
    "a million finished jobs": (("B5",), growth.measure),
    "round trips": (("B6",), trips.measure),
    "model switches": (("B7",), switches.measure),
    "waiting": (("W1", "W2"), waiting.measure),
    "webhooks": (("W3",), webhooks.measure),
    "foresight": (("W4",), foresight.measure),
    "cancel": (("W5",), cancelling.measure),
    "submits of four storefronts": (("S1",), shops.submits),
    "waiting for pictures": (("S2",), shops.waiting),
    "pages of a million images": (("S3",), shops.pages),
    "pictures": (("P1", "P2", "P3", "P4", "P5", "P6"), pictures.measure),
}


def main(names: Sequence[str]) -> int:
    """Run the named figures, or all; the exit code."""
    known = [name for group, _ in GROUPS.values() for name in group]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"bench: there is no figure {unknown[0]}. There are {', '.join(known)}.")
        return 2
    _forget_settings()
    started = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench") as folder, open_stage(Path(folder)) as stage:
        for title, (group, measure) in GROUPS.items():
            if not names or set(names) & set(group):
                print(f"bench: {title} ({', '.join(group)}) ...", flush=True)
                found = measure(stage)
                figures += found
                print(table(found), flush=True)
        servers = stage.server_versions()
    seconds = time.monotonic() - started
    if not names:
        write_results(figures, seconds, *servers)
    print(f"\n{table(figures)}\n\nbench: {seconds:.0f} s", flush=True)
    missed = [figure.id for figure in figures if figure.missed]
    if missed:
        print(f"bench: missed what must be met: {', '.join(missed)}")
    return 1 if missed else 0


def _forget_settings() -> None:
    """What is measured is the farm as it comes, on servers of its own."""
    for name in list(os.environ):
        if name.startswith("FARM_") or name in ("DATABASE_URL", "BROKER_URL"):
            del os.environ[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
