"""Shap-E at full size: that it fits, how long a thing takes, how soon a cancel frees the GPU."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from farm.catalog import built_in_catalog
from farm.errors import Cancelled
from farm.types import RunRequest
from models import registry
from models.base import FIRST_GPU, Engine
from tests.contracts.engine import ignore
from tests.contracts.mesh_engine import opened
from tests.gpu import measure
from tests.gpu.measure import Line

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600), pytest.mark.xdist_group("gpu")]

GB, GIB = 10**9, 2**30
CARD = built_in_catalog().models["shap-e"]
STEPS = 16


def job(**changes: Any) -> RunRequest:
    """A thing."""
    params = {"prompt": "a red chair", "seed": 7, "steps": STEPS, "guidance_scale": 15.0}
    return RunRequest(uuid.uuid4(), 1, CARD.id, "3d", params | changes)


@pytest.fixture(scope="module")
def found() -> Iterator[list[Line]]:
    """The lines of this model's section, written once its tests have run."""
    lines: list[Line] = []
    yield lines
    if lines:
        now = datetime.datetime.now(datetime.UTC)
        measure.keep(CARD.id, lines, measure.device_line(), now)


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory, found: list[Line]) -> Iterator[Engine]:
    """The engine with full-size weights, loaded; nothing else is on the GPU."""
    import torch

    from tests.gpu import full_size_mesh

    folder = tmp_path_factory.mktemp("weights")
    full_size_mesh.save(folder)
    made = registry.create(CARD, str(folder))
    before = torch.cuda.memory_allocated()
    started = time.monotonic()
    made.load(FIRST_GPU)
    took = f"{time.monotonic() - started:.0f} s"
    found.append(Line("load", took, f"{made.resident_bytes / GIB:.1f} GiB"))
    yield made
    made.unload()
    assert torch.cuda.memory_allocated() <= before


def test_a_thing_is_made_within_the_cards_memory(maker: Engine, found: list[Line]) -> None:
    import torch

    assert 0 < maker.resident_bytes < 0.75 * CARD.vram_gb * GB
    torch.cuda.reset_peak_memory_stats()
    ends: list[float] = []
    [artifact] = maker.run(job(), lambda step, steps: ends.append(time.monotonic()))
    rest, peak = time.monotonic() - ends[-1], torch.cuda.max_memory_allocated()
    step = (ends[-1] - ends[0]) / (len(ends) - 1)
    figure = f"{step:.3f} s a step, {rest:.1f} s for the surface and the file"
    found.append(Line("a thing", figure, f"{peak / GIB:.1f} GiB at most"))
    assert len(ends) == STEPS
    assert sum(len(mesh.faces) for mesh in opened(artifact.data).geometry.values()) > 0
    assert peak < CARD.vram_gb * GB


def test_a_cancel_frees_the_gpu_within_a_step(maker: Engine, found: list[Line]) -> None:
    import torch

    heard: list[float] = []

    def cancel(step: int, steps: int) -> None:
        heard.append(time.monotonic())
        raise Cancelled("The customer changed their mind.")

    idle = torch.cuda.memory_allocated()
    with pytest.raises(Cancelled):
        maker.run(job(), cancel)
    torch.cuda.synchronize()
    found.append(Line("from cancel to an idle GPU", f"{time.monotonic() - heard[0]:.2f} s"))
    assert len(heard) == 1
    assert torch.cuda.memory_allocated() <= idle * 1.01
    maker.run(job(), ignore)
