"""SDXL and FLUX.1 [schnell] at full size: how fast, how fast through the farm, how soon free.

What is found goes into RESULTS.md. A model takes some minutes and a folder of its own size on
the disk (7 GB, 34 GB).
"""

from __future__ import annotations

import datetime
import functools
import os
import random
import shutil
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from farm import settle
from farm.cards import ModelCard
from farm.catalog import built_in_catalog
from farm.errors import Cancelled
from farm.types import RunRequest
from models import registry
from models.base import FIRST_GPU, Engine
from tests.contracts.engine import ignore
from tests.flows.whole_farm import WholeFarm, whole_farm
from tests.gpu import measure
from tests.gpu.measure import Line
from tests.processes import wait_until

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("gpu"),
    # Random weights may paint what is no number.
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
    # The library's own slip (see models/parts/quiet.py), where it runs without an engine.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

PROMPT = "a red fox in the snow, a photograph"
SIDE = 1024
JOBS, CANCELS, FARM_CANCELS = 12, 10, 3
LOADED_S = 900.0
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Case:
    """A model as it is measured: what a customer gets who names no parameters.

    ``gib`` is what its weights take, on the disk and each time on the GPU; ``variants`` are
    further ways to tune the engine, by the card's options.
    """

    model_id: str
    steps: int
    guidance_scale: float
    rounds: int
    gib: int
    variants: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def card(self) -> ModelCard:
        """The model's card, as it ships."""
        return built_in_catalog().models[self.model_id]


CASES = (
    Case(
        "sdxl",
        30,
        7.5,
        5,
        7,
        {
            "the engine, nothing compiled": {"compile": "off"},
            "the engine, query, key and value fused": {"fuse_qkv": "on"},
        },
    ),
    Case("flux-schnell", 4, 0.0, 10, 34),
)
STOCK, OURS = "stock diffusers, bf16", "the engine"


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model_id)
def case(request: pytest.FixtureRequest) -> Case:
    """Each model in turn; skipped where the GPU is too small for two of it side by side."""
    import torch

    found: Case = request.param
    _, total = torch.cuda.mem_get_info()
    needed = (2 + len(found.variants)) * found.gib + 12
    if total < needed * GIB:
        pytest.skip(f"{found.model_id} is measured on a GPU of {needed} GiB or more")
    return found


@pytest.fixture(scope="module")
def weights(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for FARM_WEIGHTS with the model in it."""
    import torch

    from tests.gpu import full_size

    folder = tmp_path_factory.mktemp("weights")
    measure.needs_disk(folder, (case.gib + 4) * GIB, case.model_id)
    full_size.save(case.model_id, FIRST_GPU, torch.bfloat16, folder)
    torch.cuda.empty_cache()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def found(case: Case) -> Iterator[list[Line]]:
    """The lines of this model's section, written once its tests have run."""
    with measure.section(case.model_id) as lines:
        yield lines


@dataclass(frozen=True, slots=True)
class Alone:
    """Of the engine in this process: seconds a picture by contender and round, and seconds
    from a cancel to an idle GPU."""

    pictures: dict[str, list[float]]
    cancels: list[float]

    @property
    def picture_s(self) -> float:
        """Seconds that the engine takes for one picture."""
        return statistics.median(self.pictures[OURS])


@pytest.fixture(scope="module")
def alone(case: Case, weights: Path, found: list[Line]) -> Alone:
    """The engine beside stock diffusers, in turns, in this process; the GPU is empty again
    when it is there."""
    import torch

    contenders: dict[str, Callable[[], object]] = {STOCK: stock(case, weights)}
    engines: list[Engine] = []
    for name in (OURS, *case.variants):
        card = case.card.model_copy(update={"options": case.variants.get(name, {})})
        engine = registry.create(card, str(weights))
        started = time.monotonic()
        engine.load(FIRST_GPU)
        found.append(Line(f"load, {name}", f"{time.monotonic() - started:.1f} s"))
        engines.append(engine)
        contenders[name] = functools.partial(engine.run, job(case), ignore)
    measure.in_turns(contenders, 1, torch.cuda.synchronize)
    pictures = measure.in_turns(contenders, case.rounds, torch.cuda.synchronize)
    cancels = [cancelled_after(engines[0], case, number) for number in range(CANCELS)]
    contenders.clear()
    for engine in engines:
        engine.unload()
    return Alone(pictures, cancels)


def stock(case: Case, weights: Path) -> Callable[[], object]:
    """The library's own pipeline, as its documentation loads it."""
    import torch

    from tests.gpu import full_size

    pipeline: Any = full_size.PIPELINES[case.model_id].from_pretrained(
        weights / case.model_id, dtype=torch.bfloat16, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(FIRST_GPU)
    return lambda: pipeline(
        PROMPT,
        width=SIDE,
        height=SIDE,
        num_inference_steps=case.steps,
        guidance_scale=case.guidance_scale,
        **({} if case.model_id == "sdxl" else {"max_sequence_length": 256}),
    )


def job(case: Case, **changes: Any) -> RunRequest:
    """One picture."""
    params = {"prompt": PROMPT, "width": SIDE, "height": SIDE, "steps": case.steps, "seed": 7}
    params |= {"guidance_scale": case.guidance_scale} | changes
    return RunRequest(uuid.uuid4(), 1, case.model_id, "generate", params)


def cancelled_after(engine: Engine, case: Case, number: int) -> float:
    """Seconds from a cancel at a moment that is drawn to a GPU that has nothing to do."""
    import torch

    heard: list[float] = []
    timer = threading.Timer(
        0.2 + random.Random(number).random(), lambda: heard.append(time.perf_counter())
    )

    def look(step: int, steps: int) -> None:
        if heard:
            raise Cancelled("The customer changed their mind.")

    timer.start()
    with pytest.raises(Cancelled):
        engine.run(job(case, steps=1000), look)
    torch.cuda.synchronize()
    return time.perf_counter() - heard[0]


def test_the_engine_is_faster_than_stock_diffusers(
    case: Case, alone: Alone, found: list[Line]
) -> None:
    for name, times in alone.pictures.items():
        ratio = measure.faster(times, alone.pictures[STOCK])
        what = f"{name}, {SIDE}x{SIDE}, {case.steps} steps"
        found.append(Line(what, _seconds(times), f"{ratio:.2f} x"))
    assert measure.faster(alone.pictures[OURS], alone.pictures[STOCK]) > 1


def test_a_cancel_frees_the_gpu_within_a_step(case: Case, alone: Alone, found: list[Line]) -> None:
    worst = f"{max(alone.cancels):.2f} s at most"
    found.append(Line("from cancel to an idle GPU, the engine", _seconds(alone.cancels), worst))
    # What is in the GPU's queue already is done: a step, and the next one's beginning.
    assert max(alone.cancels) < 2.5 * alone.picture_s / case.steps


@pytest.fixture
def farm(
    case: Case, weights: Path, tmp_path: Path, postgres_url: str, redis_url: str
) -> Iterator[WholeFarm]:
    """A whole farm as it is delivered, whose one worker makes pictures of this model."""
    folder = tmp_path / "farm"
    folder.mkdir()
    env = {"FARM_WEIGHTS": str(weights), "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    env |= {"FARM_LEASE_S": "30", "FARM_DRAIN_S": "20"}
    with whole_farm(folder, postgres_url, redis_url, redis_url, **env) as made:
        made.start("control")
        made.start("beat")
        made.start_api()
        made.start_worker(case.model_id)
        yield made


def test_the_whole_farm_is_as_fast_as_its_engine(
    case: Case, alone: Alone, farm: WholeFarm, found: list[Line]
) -> None:
    ids = [farm.submit(order(case)) for _ in range(JOBS)]
    for generation_id in ids:
        status = farm.finished(generation_id, LOADED_S)
        assert status["status"] == "completed", f"{status}\n{farm.logs()}"
    ends = sorted(farm.column("finished_at", generation_id) for generation_id in ids)
    # The first one ends when the model has been loaded and warmed up.
    each_s = (ends[-1] - ends[0]).total_seconds() / (JOBS - 1)
    share = alone.picture_s / each_s
    what = f"pictures a minute through the whole farm, {JOBS - 1} in a row"
    found.append(Line(what, f"{60 / each_s:.1f}", f"{share:.3f} of the engine alone"))
    assert share > 0.9, f"{each_s} s a picture instead of {alone.picture_s} s"


@pytest.mark.usefixtures("alone")
def test_a_cancelled_job_frees_its_worker(case: Case, farm: WholeFarm, found: list[Line]) -> None:
    farm.finished(farm.submit(order(case)), LOADED_S)
    seconds = []
    for _ in range(FARM_CANCELS):
        long = farm.submit(order(case) | {"steps": 50 if case.model_id == "sdxl" else 8})
        following = farm.submit(order(case))
        wait_until(functools.partial(farm.column, "started_at", long), 60, farm.logs)
        cancelled = datetime.datetime.now(datetime.UTC)
        settle.cancel(farm.services.db, farm.who.account_id, uuid.UUID(long))
        farm.finished(following, LOADED_S)
        started = farm.column("started_at", following)
        seconds.append((started - cancelled).total_seconds())
    remark = "a heartbeat every 10 s carries the news"
    found.append(Line("from cancel to the next job's start, the farm", _seconds(seconds), remark))
    assert max(seconds) < 15, seconds


def order(case: Case) -> dict[str, Any]:
    """The body of a submit."""
    size = {"model": case.model_id, "width": SIDE, "height": SIDE, "steps": case.steps}
    return {**size, "prompt": PROMPT, "guidance_scale": case.guidance_scale}


def _seconds(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} s"
