"""MusicGen small on a GPU: its contract, and at full size how long, how much, how soon free.

The full-size networks have random weights, which changes nothing about seconds and memory. What
is found goes into RESULTS.md.
"""

from __future__ import annotations

import random
import shutil
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.catalog import built_in_catalog
from farm.errors import Cancelled
from farm.types import RunRequest
from models.base import FIRST_GPU, Engine
from tests.contracts.audio_engine import decoded, ignore
from tests.gpu import measure
from tests.gpu.measure import Line
from tests.models import test_musicgen as small
from tests.models.checkpoints import making, musicgen

MODEL = "musicgen-small"
GIB = 2**30
DISK_GIB = 4
ROUNDS, CANCELS = 3, 10
CANCEL_S = 1.0
"""What a customer who cancels is promised: the GPU is free within a second."""

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("gpu"),
]


class TestMusicgen(small.TestMusicgen):
    """The contract on the small checkpoint, in half precision."""

    device = FIRST_GPU

    def test_what_the_model_takes_is_counted_whole(self, player: Engine, folder: Path) -> None:
        """And given back."""
        import torch

        # What the libraries allocate at their first use, they keep.
        player.run(self.request(), ignore)
        before = torch.cuda.memory_allocated()
        made = self.create(folder)
        made.load(self.device)
        assert torch.cuda.memory_allocated() - before >= made.resident_bytes > 0
        made.run(self.request(), ignore)
        made.unload()
        assert torch.cuda.memory_allocated() == before


@pytest.fixture(scope="module")
def found() -> Iterator[list[Line]]:
    """The lines of this model's section, written once its tests have run."""
    with measure.section(MODEL) as lines:
        yield lines


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, found: list[Line]) -> Iterator[Engine]:
    """The engine with networks of the published sizes, loaded."""
    import torch

    folder = tmp_path_factory.mktemp("weights")
    measure.needs_disk(folder, DISK_GIB * GIB, MODEL)
    musicgen.write(folder / MODEL, musicgen.FULL, "cuda")
    torch.cuda.empty_cache()
    made = making.engine(MODEL, folder)
    torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    made.load(FIRST_GPU)
    found.append(Line("load", f"{time.monotonic() - started:.1f} s"))
    shutil.rmtree(folder)
    yield made
    made.unload()


def job(**changes: Any) -> RunRequest:
    """One clip."""
    params = {"prompt": "a calm piano in the rain", "duration": 5, "seed": 7} | changes
    return RunRequest(uuid.uuid4(), 1, MODEL, "audio", params)


def test_a_clip_at_full_size(full: Engine, found: list[Line]) -> None:
    import torch

    for duration in (5, 30):
        seconds = []
        for number in range(ROUNDS):
            started = time.perf_counter()
            [artifact] = full.run(job(duration=duration, seed=number), ignore)
            seconds.append(time.perf_counter() - started)
        samples, rate = decoded(artifact)
        assert samples.shape == (duration * rate, 1)
        median = statistics.median(seconds)
        speed = f"{duration / median:.1f} x as fast as it plays"
        found.append(Line(f"a clip of {duration} s", f"{median:.2f} s", speed))
    peak_gib = torch.cuda.max_memory_allocated() / GIB
    limit_gib = built_in_catalog().models[MODEL].vram_gb
    resident = f"{full.resident_bytes / GIB:.2f} GiB of it stay"
    found.append(Line("most memory, loading and running", f"{peak_gib:.2f} GiB", resident))
    assert peak_gib < limit_gib


def test_a_cancel_frees_the_gpu_within_a_second(full: Engine, found: list[Line]) -> None:
    seconds = [cancelled_after(full, number) for number in range(CANCELS)]
    worst = f"{max(seconds):.2f} s at most"
    found.append(Line("from cancel to an idle GPU", f"{statistics.median(seconds):.2f} s", worst))
    assert max(seconds) < CANCEL_S


def cancelled_after(engine: Engine, number: int) -> float:
    """Seconds from a cancel at a moment that is drawn to a GPU that has nothing to do."""
    import torch

    heard: list[float] = []
    moment = 0.2 + random.Random(number).random()
    timer = threading.Timer(moment, lambda: heard.append(time.perf_counter()))

    def look(step: int, steps: int) -> None:
        if heard:
            raise Cancelled("The customer changed their mind.")

    timer.start()
    with pytest.raises(Cancelled):
        engine.run(job(duration=30), look)
    torch.cuda.synchronize()
    return time.perf_counter() - heard[0]
