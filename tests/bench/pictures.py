"""P1 to P6: what the CPU engines take for a picture, and what an upload costs the web process."""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import requests
from PIL import Image

from tests import factories
from tests.bench.load import ROOT
from tests.bench.picture_probe import photo
from tests.bench.report import Figure, at_most, median_ratio, milliseconds
from tests.bench.stage import Stage, cpu_s, web_processes

SIDE = 1024
LARGEST = 4096
RUNS = 5
ROUNDS = 7
AT_ONCE = 20
UPLOAD_MAX = 10 * 1024 * 1024
_MIB = 1 << 20
_PROBE_S = 900


def measure(stage: Stage) -> list[Figure]:
    """The engines first, each in a process of its own; then uploads to a running API."""
    return [*_engines(), *_uploads(stage)]


def _engines() -> list[Figure]:
    figures = []
    for number, model_id, what, limit_s in (
        ("P1", "remove-background", f"GrabCut on {SIDE}², seconds", 3.0),
        ("P2", "remove-object", f"Telea on {SIDE}², seconds", 1.0),
        ("P3", "upscale-4x", f"Lanczos 4× of {SIDE}², seconds", 2.0),
    ):
        seconds = _probe(model_id, SIDE, RUNS)["seconds"]
        took = statistics.median(seconds)
        figures.append(Figure(number, what, f"{took:.2f} s", "", took, at_most(limit_s)))
    found = _probe("upscale-4x", LARGEST, 0)
    gib = found["peak_mib"] / 1024
    what = f"Lanczos 4× of {LARGEST}², peak memory of the process, GiB"
    figures.append(Figure("P4", what, f"{gib:.2f} GiB", "", gib, at_most(3.0)))
    return figures


def _probe(model_id: str, side: int, runs: int) -> dict[str, float | list[float]]:
    command = [sys.executable, "-m", "tests.bench.picture_probe", model_id, str(side), str(runs)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=_PROBE_S, check=True
    )
    found: dict[str, float | list[float]] = json.loads(done.stdout)
    return found


def _uploads(stage: Stage) -> list[Figure]:
    content = largest_upload()
    with stage.farm(web_workers=1) as farm, stage.api(farm) as (port, _):
        who = farm.customers(1)[0]
        [web] = web_processes(port)

        def upload() -> None:
            answer = requests.post(
                f"http://127.0.0.1:{port}/v1/image/remove-background",
                headers={"Authorization": f"Bearer {who.key}"},
                files={"image": ("photo.jpg", content, "image/jpeg")},
                timeout=120,
            )
            assert answer.status_code == 200, answer.text

        small_upload(port, who)  # whatever is imported at the first one
        one = _peak_rise(web, upload)
        cost, wall, alone = _times(web, upload, content)
        many = _peak_rise(web, lambda: _at_once(upload))
    size = f"{len(content) / _MIB:.1f} MiB, {LARGEST}²"
    return [
        Figure("P5", f"memory for an upload of {size}, MiB", f"{one:.0f} MiB", "", one,
               at_most(200)),
        Figure("P5 many", f"memory for {AT_ONCE} of them at once, MiB", f"{many:.0f} MiB", "", many,
               at_most(600)),
        Figure("P6", f"CPU of an upload of {size}, against Pillow decoding it",
               milliseconds(cost), milliseconds(alone), median_ratio(cost, alone), at_most(3)),
        Figure("P6 wall", "the same by the clock, HTTP and a durable file included",
               milliseconds(wall), milliseconds(alone), median_ratio(wall, alone)),
    ]  # fmt: skip


def largest_upload() -> bytes:
    """The heaviest JPEG that is taken: 4096 pixels a side, as near to 10 MiB as quality goes."""
    picture = photo(LARGEST)
    low, high, best = 30, 100, b""
    while low < high:
        quality = (low + high + 1) // 2
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= UPLOAD_MAX:
            low, best = quality, buffer.getvalue()
        else:
            high = quality - 1
    return best


def small_upload(port: int, who: factories.Customer) -> None:
    """One small picture through the same path."""
    buffer = io.BytesIO()
    photo(64).save(buffer, "JPEG")
    answer = requests.post(
        f"http://127.0.0.1:{port}/v1/image/remove-background",
        headers={"Authorization": f"Bearer {who.key}"},
        files={"image": ("photo.jpg", buffer.getvalue(), "image/jpeg")},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


def _peak_rise(process: psutil.Process, work: Callable[[], None]) -> float:
    """By how many MiB the process's peak rises above what it holds now."""
    folder = Path(f"/proc/{process.pid}")
    (folder / "clear_refs").write_text("5")  # the peak starts from here
    before = process.memory_info().rss
    work()
    status = (folder / "status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return (int(line.split()[1]) * 1024 - before) / _MIB


def _times(
    web: psutil.Process, upload: Callable[[], None], content: bytes
) -> tuple[list[float], list[float], list[float]]:
    """CPU seconds and wall seconds of uploads, and CPU seconds of decoding alone, in turns."""
    cost, wall, alone = [], [], []
    for _ in range(ROUNDS):
        before, started = cpu_s([web]), time.perf_counter()
        upload()
        wall.append(time.perf_counter() - started)
        cost.append(cpu_s([web]) - before)
        started = time.process_time()
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
        alone.append(time.process_time() - started)
    return cost, wall, alone


def _at_once(upload: Callable[[], None]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(upload) for _ in range(AT_ONCE)]:
            done.result()
