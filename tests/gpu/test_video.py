"""Both Wan 2.1 14B and CogVideoX 2B at full size: that they fit, how long a film takes, how soon a
cancel frees the GPU.

What is found goes into RESULTS.md. A model takes some minutes and a folder of its own size on
the disk (41, 47 and 14 GB), and its largest job must fit into what its card promises.
"""

from __future__ import annotations

import io
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import pytest

from farm.cards import ModelCard
from farm.catalog import built_in_catalog
from farm.errors import Cancelled
from farm.types import RunRequest
from models import registry
from models.base import FIRST_GPU, Engine
from tests.contracts.edit_engine import tiff
from tests.contracts.engine import ignore
from tests.contracts.video_engine import scene
from tests.gpu import measure
from tests.gpu.measure import Line

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800), pytest.mark.xdist_group("gpu")]

GB, GIB = 10**9, 2**30
PROMPT = "a red fox runs through the snow, filmed from close up"


@dataclass(frozen=True, slots=True)
class Case:
    """A model as it is measured; of both its jobs, ``steps`` decide how long they take here."""

    model_id: str
    steps: int
    gb: int
    usual: dict[str, Any]
    largest: dict[str, Any]

    @property
    def card(self) -> ModelCard:
        """The model's card, as it ships but for the steps, where it is the one to say them."""
        card = built_in_catalog().models[self.model_id]
        if "steps" not in card.options:
            return card
        return card.model_copy(update={"options": {**card.options, "steps": str(self.steps)}})

    def job(self, params: dict[str, Any]) -> RunRequest:
        """A film."""
        params = {"prompt": PROMPT, "negative_prompt": "blurred", "seed": 7, **params}
        if "steps" in self.card.params:
            params["steps"] = self.steps
        inputs = {"image": tiff(scene(1920, 1080))} if self.card.inputs else {}
        return RunRequest(uuid.uuid4(), 1, self.model_id, self.card.operation, params, inputs)


_COGVIDEOX = {"num_frames": 49, "resolution": "480p"}
CASES = (
    Case(
        "wan2.1",
        2,
        41,
        {"duration": 3.0, "resolution": "480p"},
        {"duration": 10.0, "resolution": "720p"},
    ),
    Case(
        "wan-i2v",
        2,
        47,
        {"duration": 3.0, "resolution": "480p"},
        {"duration": 10.0, "resolution": "720p"},
    ),
    Case("cogvideo-2b", 5, 14, _COGVIDEOX, _COGVIDEOX),
)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model_id)
def case(request: pytest.FixtureRequest) -> Case:
    """Each model in turn; skipped where the GPU is smaller than its card asks for, or could not
    make its weights."""
    import torch

    found: Case = request.param
    _, total = torch.cuda.mem_get_info()
    needed = max(found.card.vram_gb, found.gb + 2)
    if total < needed * GB:
        pytest.skip(f"{found.model_id} is measured on a GPU of {needed:.0f} GB or more")
    return found


@pytest.fixture(scope="module")
def found(case: Case) -> Iterator[list[Line]]:
    """The lines of this model's section, written once its tests have run."""
    with measure.section(case.model_id) as lines:
        yield lines


@pytest.fixture(scope="module")
def engine(
    case: Case, found: list[Line], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """The engine with full-size weights, loaded; nothing else is on the GPU."""
    import torch

    from tests.gpu import full_size_video

    folder = tmp_path_factory.mktemp("weights")
    measure.needs_disk(folder, (case.gb + 4) * GB, case.model_id)
    full_size_video.save(case.model_id, FIRST_GPU, folder)
    torch.cuda.empty_cache()
    made = registry.create(case.card, str(folder))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    made.load(FIRST_GPU)
    took = f"{time.monotonic() - started:.0f} s"
    shutil.rmtree(folder)
    peak = torch.cuda.max_memory_allocated() - before
    found.append(Line("load", took, f"{gib(made.resident_bytes)}, {gib(peak)} at most meanwhile"))
    yield made
    made.unload()
    assert torch.cuda.memory_allocated() <= before


def gib(size: int) -> str:
    """A number of bytes as a person reads it."""
    return f"{size / GIB:.1f} GiB"


def test_its_weights_leave_room_on_the_card(case: Case, engine: Engine) -> None:
    import torch

    assert torch.cuda.memory_allocated() >= engine.resident_bytes
    assert 0 < engine.resident_bytes < 0.75 * case.card.vram_gb * GB


@pytest.mark.parametrize("kind", ["usual", "largest"])
def test_a_film_is_made_within_the_cards_memory(
    case: Case, kind: str, engine: Engine, found: list[Line]
) -> None:
    import torch

    job = case.job(case.usual if kind == "usual" else case.largest)
    torch.cuda.reset_peak_memory_stats()
    ends: list[float] = []
    started = time.monotonic()
    [artifact] = engine.run(job, lambda step, steps: ends.append(time.monotonic()))
    took, rest = time.monotonic() - started, time.monotonic() - ends[-1]
    peak = torch.cuda.max_memory_allocated()
    facts = artifact.facts
    step = (ends[-1] - ends[0]) / (len(ends) - 1)
    what = f"{kind} film, {facts['width']}x{facts['height']}, {facts['frames']} frames"
    figure = f"{step:.2f} s a step, {rest:.1f} s to decode and write"
    found.append(Line(what, figure, f"{took:.0f} s for {len(ends)} steps, {gib(peak)} at most"))
    with av.open(io.BytesIO(artifact.data)) as film:
        assert film.streams.video[0].frames == facts["frames"]
    assert peak < case.card.vram_gb * GB


def test_a_cancel_frees_the_gpu_within_a_step(
    case: Case, engine: Engine, found: list[Line]
) -> None:
    import torch

    heard: list[float] = []

    def cancel(step: int, steps: int) -> None:
        heard.append(time.monotonic())
        raise Cancelled("The customer changed their mind.")

    idle = torch.cuda.memory_allocated()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        engine.run(case.job(case.usual), cancel)
    torch.cuda.synchronize()
    freed = time.monotonic() - heard[0]
    found.append(Line("from cancel to an idle GPU", f"{freed:.2f} s"))
    assert len(heard) == 1
    assert freed <= 1.5 * (heard[0] - started)
    assert torch.cuda.memory_allocated() <= idle * 1.01
    engine.run(case.job(case.usual), ignore)
