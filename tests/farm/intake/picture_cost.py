"""Reads pictures in a process of its own, and says as one line of JSON what that took.

``python -m tests.farm.intake.picture_cost hostile`` reads every hostile upload once;
``python -m tests.farm.intake.picture_cost FILE [THREADS]`` reads one picture, in that many
threads at once, each of which has the file in memory.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from farm.cards import InputSpec
from farm.errors import Rejected
from farm.intake.pictures import PictureReader
from tests.farm.intake import picture_parts as parts

SPEC = InputSpec()


def peak_mb() -> float:
    """The most memory that was resident at a time. (``ru_maxrss`` would count the parent's.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def hostile(reader: PictureReader) -> dict[str, object]:
    """Every hostile upload: the slowest, and the whole process's peak."""
    from tests.farm.intake.hostile_pictures import HOSTILE

    seconds: dict[str, float] = {}
    for upload in HOSTILE:
        content = upload.content()
        began = time.perf_counter()
        with suppress(Rejected):
            reader.read(content, "photo", SPEC)
        seconds[upload.name] = time.perf_counter() - began
    slowest = max(seconds, key=seconds.__getitem__)
    return {"slowest": slowest, "seconds": seconds[slowest], "peak_mb": peak_mb()}


def at_once(reader: PictureReader, path: Path, threads: int) -> dict[str, object]:
    """One picture in several threads: how far the peak rises over the idle process."""
    idle_mb = peak_mb()

    def read() -> None:
        reader.read(path.read_bytes(), "photo", SPEC)

    began = time.perf_counter()
    started = [threading.Thread(target=read) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return {"seconds": time.perf_counter() - began, "rise_mb": peak_mb() - idle_mb}


def main() -> None:
    reader = PictureReader(wait_s=60)
    for make in (parts.png, parts.jpeg, parts.webp):
        # What a first picture loads belongs to the idle process.
        reader.read(make(), "photo", SPEC)
    if sys.argv[1] == "hostile":
        found = hostile(reader)
    else:
        found = at_once(reader, Path(sys.argv[1]), int((*sys.argv, "1")[2]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
