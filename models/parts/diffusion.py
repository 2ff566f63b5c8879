"""One diffusers pipeline on its device: opened from a card's weights, run step by step."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from PIL import Image

from farm.types import OnStep
from models import weights
from models.base import CPU, EngineSetup, Interrupts
from models.parts import speed
from models.parts.quiet import numpy_copy_warning_ignored, quieten

VAE = "vae"
"""The part of a card's weights that replaces the pipeline's own."""
TILE_SIDE = 1024
"""Pictures longer than this on a side are decoded in overlapping tiles of this many pixels,
which keeps the decoder's memory at that of the usual size."""
_LOCAL = {"use_safetensors": True, "local_files_only": True}


class Diffusion:
    """A pipeline whose weights are on a device."""

    def __init__(self, pipeline: Any, device: str) -> None:
        self.pipeline = pipeline
        self.device = device
        self._stance: speed.Stance = speed.as_it_is

    @property
    def resident_bytes(self) -> int:
        """Bytes of every parameter and buffer of every part."""
        parts = (p for p in self.pipeline.components.values() if isinstance(p, torch.nn.Module))
        tensors = (t for part in parts for t in (*part.parameters(), *part.buffers()))
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def make_quick(self, setup: EngineSetup, warm_up: speed.Run) -> None:
        """On a GPU, :meth:`tune` the pipeline as the card's options say.

        Raises:
            SetupError: an option has a value that is not known.
            Exception: whatever ``warm_up`` raises.
        """
        tuning = speed.Tuning.read(setup.options)
        if self.device != CPU:
            self.tune(tuning, warm_up, setup.interrupts)

    def tune(
        self,
        tuning: speed.Tuning,
        warm_up: speed.Run,
        interrupts: Interrupts = (),
        backend: speed.Backend = speed.INDUCTOR,
    ) -> None:
        """Make the pipeline quick, and run it once so that the first job finds everything in
        place.

        Raises:
            Exception: whatever ``warm_up`` raises, and any of ``interrupts``.
        """
        speed.lay_out(self.pipeline, tuning)
        if tuning.compile_blocks:
            self._stance = speed.compile_and_warm_up(self.pipeline, warm_up, interrupts, backend)
        else:
            warm_up()

    def around(self, kind: type[Any]) -> Diffusion:
        """Another pipeline around the same parts: no weight is there twice, and what was
        compiled serves both. To be made once this one is quick."""
        other = kind(**self.pipeline.components)
        other.set_progress_bar_config(disable=True)
        made = Diffusion(other, self.device)
        made._stance = self._stance
        return made

    def paint(self, on_step: OnStep, steps: int, **arguments: Any) -> Image.Image:
        """One picture; see :meth:`denoise`."""
        image: Image.Image = self.denoise(on_step, steps, **arguments).images[0]
        return image

    def denoise(self, on_step: OnStep, steps: int, **arguments: Any) -> Any:
        """Run the pipeline for this many inference steps; ``on_step`` is called after each.

        Returns what the pipeline returns.
        """

        def after_step(_: Any, index: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(index + 1, steps)
            return tensors

        with numpy_copy_warning_ignored(), self._stance():
            return self.pipeline(
                num_inference_steps=steps, callback_on_step_end=after_step, **arguments
            )


def open_pipeline(
    setup: EngineSetup, kind: type[Any], gpu_dtype: torch.dtype, device: str, **options: Any
) -> Diffusion:
    """Load a card's pipeline (and its VAE, where the card names another) onto a device: in
    ``gpu_dtype`` on a GPU, in float32 on a CPU.

    ``options`` are what else the pipeline class takes.

    Raises:
        WeightsMissing: the files are not there, or not whole.
    """
    quieten()
    dtype = torch.float32 if device == CPU else gpu_dtype
    parts: dict[str, Any] = {}
    if VAE in setup.sources:
        vae = weights.locate(setup, VAE)
        local = {"dtype": dtype, **_LOCAL}
        parts[VAE] = AutoencoderKL.from_pretrained(vae.path, variant=vae.variant, **local)
    pipeline = read_pipeline(setup, kind, dtype, **options, **parts)
    pipeline.vae.tile_sample_min_size = TILE_SIDE
    pipeline.vae.tile_latent_min_size = TILE_SIDE // pipeline.vae_scale_factor
    pipeline.vae.enable_tiling()
    return Diffusion(pipeline.to(device), device)


def read_pipeline(
    setup: EngineSetup, kind: type[Any], dtype: torch.dtype | dict[str, torch.dtype], **options: Any
) -> Any:
    """Read a card's pipeline into main memory, in one precision or in one by part's name (and
    ``default``).

    Raises:
        WeightsMissing: the files are not there, or not whole.
    """
    quieten()
    found = weights.locate(setup, weights.PIPELINE)
    local = {"dtype": dtype, "variant": found.variant, **_LOCAL}
    pipeline = kind.from_pretrained(found.path, **local, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
