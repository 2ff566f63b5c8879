"""CatVTON on a GPU: its contract, and at full size how long, how much, how soon free.

The full-size networks have random weights, which changes nothing about seconds and memory; the
parser's last layer is fitted to drawn people, so that the job runs to its end. What is found
goes into RESULTS.md.
"""

from __future__ import annotations

import random
import shutil
import statistics
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from farm.catalog import built_in_catalog
from farm.errors import Cancelled
from farm.types import RunRequest
from models.base import FIRST_GPU, Engine
from tests.contracts.edit_engine import decoded, ignore
from tests.gpu import measure
from tests.gpu.measure import Line
from tests.models import figures
from tests.models import test_catvton as small
from tests.models.checkpoints import catvton, making
from tests.models.figures import Figure

MODEL = "virtual-tryon"
GIB = 2**30
DISK_GIB = 4
SIZE = (768, 1024)
ROUNDS, CANCELS = 3, 10
CANCEL_S = 1.0
"""What a customer who cancels is promised: the GPU is free within a second."""

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("gpu"),
    # Random weights may paint what is no number.
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
]


class TestCatvton(small.TestCatvton):
    """The contract on the small checkpoint, in half precision."""

    device = FIRST_GPU


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
    catvton.write(folder / MODEL, catvton.FULL, "cuda")
    torch.cuda.empty_cache()
    made = making.engine(MODEL, folder)
    torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    made.load(FIRST_GPU)
    found.append(Line("load", f"{time.monotonic() - started:.1f} s"))
    shutil.rmtree(folder)
    yield made
    made.unload()


def job(seed: int = 7) -> RunRequest:
    """Somebody who tries a shirt on."""
    person = figures.person(Figure(size=SIZE)).picture
    return small.TestCatvton.worn("upperbody", seed, person_image=person)


def test_a_picture_at_full_size(full: Engine, found: list[Line]) -> None:
    import torch

    seconds = []
    for number in range(ROUNDS):
        started = time.perf_counter()
        [artifact] = full.run(job(number), ignore)
        seconds.append(time.perf_counter() - started)
    assert decoded(artifact).shape == (SIZE[1], SIZE[0], 3)
    picture = figures.person(Figure(size=SIZE)).picture
    assert np.array_equal(decoded(artifact)[:, :40], picture[:, :40])
    card = built_in_catalog().models[MODEL]
    steps = f"{card.options['steps']} steps"
    what = f"a picture, {SIZE[0]}x{SIZE[1]}"
    found.append(Line(what, f"{statistics.median(seconds):.2f} s", steps))
    peak_gib = torch.cuda.max_memory_allocated() / GIB
    resident = f"{full.resident_bytes / GIB:.2f} GiB of it stay"
    found.append(Line("most memory, loading and running", f"{peak_gib:.2f} GiB", resident))
    assert peak_gib < card.vram_gb


def test_a_cancel_frees_the_gpu_within_a_second(full: Engine, found: list[Line]) -> None:
    seconds = [cancelled_after(full, number) for number in range(CANCELS)]
    worst = f"{max(seconds):.2f} s at most"
    found.append(Line("from cancel to an idle GPU", f"{statistics.median(seconds):.2f} s", worst))
    assert max(seconds) < CANCEL_S


def cancelled_after(engine: Engine, number: int) -> float:
    """Seconds from a cancel, at a step that is drawn, to a GPU that has nothing to do."""
    import torch

    heard: list[float] = []
    last = random.Random(number).randint(4, 30)
    timer = threading.Timer(0.0, lambda: heard.append(time.perf_counter()))

    def look(step: int, steps: int) -> None:
        if step == last:
            timer.start()
        if heard:
            raise Cancelled("The customer changed their mind.")

    with pytest.raises(Cancelled):
        engine.run(job(), look)
    torch.cuda.synchronize()
    return time.perf_counter() - heard[0]
