"""What makes pipelines quick on a GPU, tried on a CPU: compiled blocks with a plain backend."""

from __future__ import annotations

import logging
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from farm.catalog import built_in_catalog
from farm.errors import SetupError
from farm.types import RunRequest
from models.engines.flux import FluxEngine
from models.engines.sdxl import SdxlEngine
from models.parts import speed
from models.parts.diffusion import Diffusion
from models.parts.image_params import ImageParams
from models.parts.memory import released
from models.parts.text_to_image import TextToImageEngine
from models.registry import setup_of
from tests.contracts.engine import TimeIsUp, ignore, pixels

ENGINES: dict[str, type[TextToImageEngine]] = {"sdxl": SdxlEngine, "flux-schnell": FluxEngine}
OFF = speed.Tuning(compile_blocks=False)
BLOCKS = 4
"""The repeated blocks of both tiny checkpoints' networks."""
SIDE = 128


class Backend:
    """A compiler that runs what it is given as it is, and counts."""

    def __init__(self) -> None:
        self.graphs = 0
        self.calls = 0

    def __call__(self, graph: Any, examples: Any) -> Callable[..., Any]:
        self.graphs += 1

        def run(*tensors: Any) -> Any:
            self.calls += 1
            return graph(*tensors)

        return run


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No test finds what another compiled."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(params=ENGINES)
def loaded(request: pytest.FixtureRequest, tiny_cache: Path) -> Iterator[TextToImageEngine]:
    """An engine on its tiny checkpoint, loaded; as nothing is compiled on a CPU, untuned."""
    made = engine(request.param, tiny_cache)
    yield made
    made.unload()


def engine(model_id: str, cache: Path) -> TextToImageEngine:
    card = built_in_catalog().models[model_id]
    made = ENGINES[model_id](setup_of(card, "tiny", cache, (TimeIsUp,)))
    made.load("cpu")
    return made


def model(made: TextToImageEngine) -> Diffusion:
    """The engine's pipeline."""
    assert made._model is not None
    return made._model


def tune(made: TextToImageEngine, backend: speed.Backend, side: int = SIDE) -> None:
    """Compile for pictures of this size."""
    params = ImageParams("warm up", side, side, steps=2, seed=0, guidance_scale=5.0)
    model(made).tune(speed.Tuning(), lambda: made._paint(params, ignore), (TimeIsUp,), backend)


def picture(made: TextToImageEngine, side: int = SIDE, **changes: Any) -> np.ndarray[Any, Any]:
    params = {"prompt": "a red fox", "width": side, "height": side, "steps": 2, "seed": 7}
    params |= {"guidance_scale": 5.0} | changes
    request = RunRequest(uuid.uuid4(), 1, made.served_by, "generate", params)
    return pixels(made.run(request, ignore)[0]).astype(int)


def blocks(made: TextToImageEngine) -> int:
    """How many blocks of the network are compiled."""
    modules = speed.network(model(made).pipeline).modules()
    return sum(module._compiled_call_impl is not None for module in modules)


def test_nothing_is_compiled_on_a_cpu(loaded: TextToImageEngine) -> None:
    assert blocks(loaded) == 0


def test_the_compilers_own_graphs_paint_the_same_picture(tiny_cache: Path) -> None:
    made = engine("sdxl", tiny_cache)
    before = picture(made)
    tune(made, "aot_eager")
    assert np.abs(before - picture(made)).max() <= 1


def test_jobs_of_the_same_size_run_compiled_and_no_job_compiles(
    loaded: TextToImageEngine,
) -> None:
    this_size: dict[str, Any] = {"prompt": "a castle by the sea", "steps": 3, "guidance_scale": 7.0}
    other_size, no_guidance = {"side": SIDE + 64}, {"guidance_scale": 0.0}
    before = [picture(loaded, **job) for job in (this_size, other_size, no_guidance)]
    backend = Backend()
    tune(loaded, backend)
    assert blocks(loaded) == BLOCKS
    graphs, calls = backend.graphs, backend.calls

    assert np.abs(before[0] - picture(loaded, **this_size)).max() <= 1
    assert backend.calls == calls + 3 * BLOCKS
    calls = backend.calls
    assert np.abs(before[1] - picture(loaded, **other_size)).max() <= 1
    assert backend.calls == calls, "another size was run with what was made for this one"
    assert np.abs(before[2] - picture(loaded, **no_guidance)).max() <= 1
    assert backend.graphs == graphs > 0


def test_loading_again_finds_what_was_compiled(tiny_cache: Path) -> None:
    backend, found = Backend(), []
    for _ in range(2):
        made = engine("flux-schnell", tiny_cache)
        tune(made, backend)
        found.append(backend.graphs)
        network = weakref.ref(speed.network(model(made).pipeline))
        made.unload()
        released()
        assert network() is None, "what was compiled holds on to the weights"
    assert found[0] == found[1]


def test_the_engines_warm_up_serves_a_job_of_the_default_size(loaded: TextToImageEngine) -> None:
    backend = Backend()
    model(loaded).tune(speed.Tuning(), loaded._warm_up, (), backend)
    calls = backend.calls
    picture(loaded, speed.WARM_SIDE, steps=1)
    assert backend.calls == calls + BLOCKS


def test_what_cannot_be_compiled_runs_uncompiled_and_says_so(
    tiny_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(graph: Any, examples: Any) -> Any:
        raise ValueError("no such device")

    made = engine("sdxl", tiny_cache)
    before = picture(made)
    with caplog.at_level(logging.WARNING, logger=speed.__name__):
        tune(made, refuse)
    [record] = caplog.records
    assert "uncompiled" in record.message
    assert record.exc_info is not None
    assert "no such device" in str(record.exc_info[1])
    assert np.abs(before - picture(made)).max() <= 1


def test_a_time_limit_that_arrives_while_compiling_passes_unchanged(tiny_cache: Path) -> None:
    def too_late(graph: Any, examples: Any) -> Any:
        raise TimeIsUp

    with pytest.raises(TimeIsUp):
        tune(engine("sdxl", tiny_cache), too_late)


def test_a_warm_up_that_breaks_for_another_reason_breaks_the_load(tiny_cache: Path) -> None:
    made = engine("sdxl", tiny_cache)

    def broken() -> None:
        raise KeyError("a slip")

    with pytest.raises(KeyError, match="a slip"):
        model(made).tune(speed.Tuning(), broken, (), "eager")


def test_a_warm_up_without_memory_is_not_tried_again(tiny_cache: Path) -> None:
    made, tries = engine("sdxl", tiny_cache), []

    def exhaust() -> None:
        tries.append(1)
        torch.empty(2**50)

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        model(made).tune(speed.Tuning(), exhaust, (), "eager")
    assert tries == [1]


@pytest.mark.parametrize("fuse_qkv", [False, True])
def test_the_layout_changes_no_picture(loaded: TextToImageEngine, fuse_qkv: bool) -> None:
    before = picture(loaded)
    tuning = speed.Tuning(compile_blocks=False, fuse_qkv=fuse_qkv)
    model(loaded).tune(tuning, lambda: None)
    assert np.abs(before - picture(loaded)).max() <= 1
    [weight, *_] = [w for w in model(loaded).pipeline.vae.parameters() if w.ndim == 4]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    attentions = [m for m in speed.network(model(loaded).pipeline).modules() if hasattr(m, "to_q")]
    assert {hasattr(a, "to_qkv") or hasattr(a, "to_kv") for a in attentions} == {fuse_qkv}


def test_the_options_of_a_card() -> None:
    assert speed.Tuning.read({}) == speed.Tuning(compile_blocks=True, fuse_qkv=False)
    assert speed.Tuning.read({"compile": "regional", "finder": "x"}) == speed.Tuning()
    assert speed.Tuning.read({"compile": "off", "fuse_qkv": "off"}) == OFF
    assert speed.Tuning.read({"fuse_qkv": "on"}).fuse_qkv
    with pytest.raises(SetupError, match="compile is 'regoinal'; it can be regional or off"):
        speed.Tuning.read({"compile": "regoinal"})
