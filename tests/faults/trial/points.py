"""Crash points that are armed and recorded by files, from outside the process.

In the folder of a trial farm:

- ``points/armed/<role>~<point>``: the next process of that role that reaches the point ends there
  by SIGKILL; what the file says is who dies: ``child`` (the process itself) or ``node`` (its
  parent first, as when a machine loses power); where it says ``stopped``, both stand still
  instead, until somebody lets them go on;
- ``points/fired/<role>~<point>``: it did, and its pid is in the file;
- ``points/passed/<role>~<point>``: a process of that role has been there.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

Victim = Literal["child", "node", "stopped"]


class Points:
    """What :func:`farm.crash_points.arm` is given inside a process of a trial farm."""

    def __init__(self, folder: Path, role: str) -> None:
        self._role = role
        self._armed, self._fired, self._passed = _folders(folder)
        self._seen: set[str] = set()

    def __call__(self, point: str) -> None:
        """Note that this process is there; die where that is armed."""
        name = f"{self._role}~{point}"
        if name not in self._seen:
            (self._passed / name).touch()
            self._seen.add(name)
        try:
            # Of several that get there at once, one.
            (self._armed / name).rename(self._fired / name)
        except FileNotFoundError:
            return
        victim = (self._fired / name).read_text(encoding="ascii")
        (self._fired / name).write_text(str(os.getpid()), encoding="ascii")
        signum = signal.SIGSTOP if victim == "stopped" else signal.SIGKILL
        if victim != "child":
            os.kill(os.getppid(), signum)
        os.kill(os.getpid(), signum)


class Armoury:
    """The test's side of it."""

    def __init__(self, folder: Path) -> None:
        self._armed, self._fired, self._passed = _folders(folder)

    def arm(self, role: str, point: str, victim: Victim = "child") -> None:
        """Let the next process of that role die there."""
        name = f"{role}~{point}"
        (self._fired / name).unlink(missing_ok=True)
        draft = self._passed.parent / name
        draft.write_text(victim, encoding="ascii")
        draft.rename(self._armed / name)

    def disarm(self) -> None:
        """Let nobody die any more."""
        for path in self._armed.iterdir():
            path.unlink(missing_ok=True)

    def take_back(self, role: str, point: str) -> None:
        """Let nobody of that role die there."""
        (self._armed / f"{role}~{point}").unlink(missing_ok=True)

    def fired(self, role: str, point: str) -> int:
        """The pid of the process that died there; 0 while none did."""
        try:
            return int((self._fired / f"{role}~{point}").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def passed(self) -> set[tuple[str, str]]:
        """(role, point) of every point that was reached so far."""
        names = (path.name.split("~", 1) for path in self._passed.iterdir())
        return {(role, point) for role, point in names}


def _folders(folder: Path) -> tuple[Path, Path, Path]:
    found = tuple(folder / "points" / name for name in ("armed", "fired", "passed"))
    for each in found:
        each.mkdir(parents=True, exist_ok=True)
    armed, fired, passed = found
    return armed, fired, passed
