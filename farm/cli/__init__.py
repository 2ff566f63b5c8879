"""The ``farm`` command: what the operator types. One file per group of commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 trouble (one sentence on stderr), 2 wrong usage."""
    from farm.cli.root import run

    sys.exit(run(arguments))
