"""The engine contract on a CUDA device, and what the device's memory does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from models.base import FIRST_GPU, Engine, device_memory_bytes, pick_device
from models.parts import speed
from models.parts.text_to_image import TextToImageEngine
from tests.contracts.engine import EngineContract, ignore
from tests.models import test_flux, test_flux_2, test_flux_kontext
from tests.models import test_sdxl_inpaint as scenes

pytestmark = pytest.mark.gpu


class CudaContract(EngineContract):
    device: ClassVar[str] = FIRST_GPU

    def test_its_blocks_are_compiled(self, engine: Engine) -> None:
        assert isinstance(engine, TextToImageEngine)
        assert engine._model is not None
        modules = speed.network(engine._model.pipeline).modules()
        assert any(module._compiled_call_impl is not None for module in modules)

    def test_memory_rises_with_load_and_falls_with_unload(
        self,
        engine: Engine,
        tiny_cache: Path,
        record_property: Callable[[str, object], None],
    ) -> None:
        import torch

        # What the libraries allocate at their first use, they keep.
        self.picture(engine, width=1024, height=1024)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        made = self.create(tiny_cache)
        made.load(self.device)
        assert torch.cuda.memory_allocated() - before >= made.resident_bytes > 0
        made.run(self.request(width=1024, height=1024), ignore)
        record_property("resident_bytes", made.resident_bytes)
        record_property("peak_bytes", torch.cuda.max_memory_allocated() - before)
        made.unload()
        assert torch.cuda.memory_allocated() == before


class TestSdxl(CudaContract):
    model_id = "sdxl"
    steps = 3


class TestFluxSchnell(CudaContract):
    model_id = "flux-schnell"
    steps = 2


class TestFlux2(CudaContract):
    model_id = "flux-2"
    steps = 2


class TestFluxSchnellEdits(test_flux.TestFluxSchnellEdits):
    device = FIRST_GPU


class TestFlux2Edits(test_flux_2.TestFlux2Edits):
    device = FIRST_GPU


class TestFluxKontext(test_flux_kontext.TestFluxKontext):
    device = FIRST_GPU


class TestScene(scenes.TestScene):
    device = FIRST_GPU


def test_the_first_gpu_is_picked() -> None:
    assert pick_device() == FIRST_GPU
    assert device_memory_bytes(FIRST_GPU) > 2**30


def test_loading_on_a_device_that_is_not_there_is_a_fault(tiny_cache: Path) -> None:
    from farm.errors import EngineFault

    made: Engine = TestSdxl.create(tiny_cache)
    with pytest.raises(EngineFault):
        made.load("cuda:999")
    assert made.resident_bytes == 0
