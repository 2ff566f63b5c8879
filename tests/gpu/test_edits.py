"""The FLUX models that follow [schnell], and what each does to pictures, at full size: that they
fit, how long a picture takes, how soon a cancel frees the GPU.

What is found goes into RESULTS.md. A model takes some minutes and a folder of its own size on
the disk (16 GB, 34 GB), and its largest job must fit into what its card promises.
"""

from __future__ import annotations

import io
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from farm.cards import ModelCard
from farm.catalog import built_in_catalog
from farm.errors import Cancelled
from farm.types import RunRequest
from models import registry
from models.base import FIRST_GPU, Engine
from tests.contracts.edit_engine import tiff
from tests.contracts.engine import ignore, pixels
from tests.gpu import measure
from tests.gpu.measure import Line

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("gpu"),
    # Random weights may paint what is no number.
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
]

GIB = 2**30
PROMPT = "make it winter, in the style of a woodcut"
LARGEST = 2048


@dataclass(frozen=True, slots=True)
class Case:
    """A model as it is measured; ``gib`` is what its weights take, ``most`` how many pictures
    it can be given."""

    model_id: str
    steps: int
    gib: int
    most: int

    @property
    def card(self) -> ModelCard:
        """The model's card, as it ships."""
        return built_in_catalog().models[self.model_id]

    def job(self, pictures: int, side: int) -> RunRequest:
        """An edit of so many pictures, or a new one where there is none."""
        guidance = self.card.params["guidance_scale"].default
        params = {"prompt": PROMPT, "width": side, "height": side, "seed": 7}
        params |= {"steps": self.steps, "guidance_scale": guidance}
        data = tiff(Image.effect_noise((side, side), 60).convert("RGB"))
        names = ("image", "image_2", "image_3", "image_4")[:pictures]
        operation = "edit" if pictures else "generate"
        inputs: dict[str, Any] = dict.fromkeys(names, data)
        return RunRequest(uuid.uuid4(), 1, self.model_id, operation, params, inputs)


CASES = (
    Case("flux-schnell", 4, 32, 1),
    Case("flux-dev", 28, 32, 0),
    Case("flux-2", 4, 15, 4),
    Case("flux-kontext", 28, 32, 4),
)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model_id)
def case(request: pytest.FixtureRequest) -> Case:
    """Each model in turn; skipped where the GPU is smaller than its card asks for."""
    import torch

    found: Case = request.param
    _, total = torch.cuda.mem_get_info()
    if total < found.card.vram_gb * GIB:
        pytest.skip(f"{found.model_id} is measured on a GPU of {found.card.vram_gb:.0f} GiB")
    return found


@pytest.fixture(scope="module")
def found(case: Case) -> Iterator[list[Line]]:
    """The lines of this model's section, written once its tests have run."""
    with measure.section(f"{case.model_id}, edits") as lines:
        yield lines


@pytest.fixture(scope="module")
def engine(
    case: Case, found: list[Line], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """The engine with full-size weights, loaded; nothing else is on the GPU."""
    import torch

    from tests.gpu import full_size

    folder = tmp_path_factory.mktemp("weights")
    measure.needs_disk(folder, (case.gib + 4) * GIB, case.model_id)
    full_size.save(case.model_id, FIRST_GPU, torch.bfloat16, folder)
    torch.cuda.empty_cache()
    made = registry.create(case.card, str(folder))
    before = torch.cuda.memory_allocated()
    started = time.monotonic()
    made.load(FIRST_GPU)
    took = f"{time.monotonic() - started:.0f} s"
    shutil.rmtree(folder)
    found.append(Line("load", took, f"{made.resident_bytes / GIB:.1f} GiB"))
    yield made
    made.unload()
    assert torch.cuda.memory_allocated() <= before


@pytest.mark.parametrize("side", [1024, LARGEST])
@pytest.mark.parametrize("full", [False, True], ids=["fewest pictures", "most pictures"])
def test_a_picture_is_made_within_the_cards_memory(
    case: Case, side: int, full: bool, engine: Engine, found: list[Line]
) -> None:
    import torch

    fewest = 0 if case.card.does("generate") else 1
    count = case.most if full else fewest
    request = case.job(count, side)
    engine.run(request, ignore)
    torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    [artifact] = engine.run(request, ignore)
    took, peak = time.monotonic() - started, torch.cuda.max_memory_allocated()
    assert pixels(artifact).shape == (side, side, 3)
    with Image.open(io.BytesIO(artifact.data)) as image:
        assert image.format == "PNG"
    what = f"{side}x{side} from {count} pictures, {case.steps} steps"
    found.append(Line(what, f"{took:.2f} s", f"{peak / GIB:.1f} GiB at most"))
    assert peak < case.card.vram_gb * GIB


def test_a_cancel_frees_the_gpu_within_a_step(
    case: Case, engine: Engine, found: list[Line]
) -> None:
    import torch

    heard: list[float] = []

    def cancel(step: int, steps: int) -> None:
        if step == 2:
            heard.append(time.monotonic())
            raise Cancelled("The customer changed their mind.")

    idle = torch.cuda.memory_allocated()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        engine.run(case.job(case.most, 1024), cancel)
    torch.cuda.synchronize()
    freed = time.monotonic() - heard[0]
    found.append(Line("from cancel to an idle GPU", f"{freed:.2f} s"))
    assert freed <= 1.5 * (heard[0] - started)
    assert torch.cuda.memory_allocated() <= idle * 1.01
