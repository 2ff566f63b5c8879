"""``python -m tests.faults.trial.launch worker --queues sdxl``: the ``farm`` command, in a trial.

``farm worker`` becomes ``celery -A tasks.app …`` with arguments of its own making. Here it becomes
the same program with the same arguments, inside :mod:`tests.faults.trial.inside`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

from farm.cli import main

_become = os.execve


def _become_inside(path: str, argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    assert argv[1] == "-m", argv
    _become(path, [argv[0], "-m", "tests.faults.trial.inside", *argv[2:]], env)


if __name__ == "__main__":
    os.execve = _become_inside  # type: ignore[assignment]
    main()
