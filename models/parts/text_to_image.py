"""What every diffusers text-to-image engine does around its own pipeline.

Input check, seed, size, progress, cancel, encoding, memory and errors are here; an engine
file holds what is particular to its family.
"""

from __future__ import annotations

import abc
import gc
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from PIL import Image

from farm.errors import EngineFault, FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models import weights
from models.base import CPU, EngineSetup, faults
from models.parts import encoding, seeds, sizes
from models.parts.image_params import ImageParams
from models.parts.quiet import numpy_copy_warning_ignored, quieten

VAE = "vae"
"""The part of a card's weights that replaces the pipeline's own."""
TILE_SIDE = 1024
"""Pictures longer than this on a side are decoded in overlapping tiles of this many pixels,
which keeps the decoder's memory at that of the usual size."""


class TextToImageEngine(abc.ABC):
    """A :class:`models.base.Engine` around one diffusers pipeline class."""

    pipeline_class: ClassVar[type[Any]]
    gpu_dtype: ClassVar[torch.dtype]
    options: ClassVar[Mapping[str, Any]] = {}
    """What else the pipeline class takes when it is loaded."""

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._pipeline: Any = None
        self._resident_bytes = 0

    @property
    def served_by(self) -> str:
        """What truly makes the picture."""
        return self._setup.served_by

    @property
    def resident_bytes(self) -> int:
        """The device memory that loading took, in bytes; 0 while unloaded."""
        return self._resident_bytes

    def load(self, device: str) -> None:
        """See :meth:`models.base.Engine.load`. Half precision on a GPU, float32 on a CPU."""
        if self._pipeline is not None:
            return
        setup = self._setup
        try:
            with faults(self.served_by, "loading", setup.interrupts):
                quieten()
                self._pipeline = self._open(device)
                self._resident_bytes = _tensor_bytes(self._pipeline)
        except BaseException:
            self.unload()  # half a model must not stay on the device
            raise

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One PNG of exactly the size asked for."""
        if request.operation != "generate":
            raise InvalidRequest([FieldError("operation", "must be generate.")])
        params = ImageParams.read(request.params)
        if self._pipeline is None:
            raise EngineFault(f"The {self.served_by} engine was asked to run before it was loaded.")
        with faults(self.served_by, "running", self._setup.interrupts):
            image = self._paint(params, on_step)
            facts = {"seed": params.seed, "steps": params.steps}
            chunks = {"model": request.model, **facts, "job_id": request.job_id}
            data = encoding.png(image, chunks)
        size = {"width": image.width, "height": image.height}
        return [Artifact(data, "image/png", "images", "png", facts | size)]

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._pipeline = None
        self._resident_bytes = 0
        gc.collect()  # a pipeline is full of reference cycles
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @abc.abstractmethod
    def _multiple(self, pipeline: Any) -> int:
        """Pixels that both sides of a picture must be a multiple of."""

    @abc.abstractmethod
    def _arguments(self, pipeline: Any, params: ImageParams) -> dict[str, Any]:
        """The pipeline's own arguments, beside prompt, size, steps and generator."""

    def _open(self, device: str) -> Any:
        setup = self._setup
        found = weights.locate(setup, weights.PIPELINE)
        dtype = torch.float32 if device == CPU else self.gpu_dtype
        local = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
        parts: dict[str, Any] = {}
        if VAE in setup.sources:
            vae = weights.locate(setup, VAE)
            parts[VAE] = AutoencoderKL.from_pretrained(vae.path, variant=vae.variant, **local)
        pipeline: Any = self.pipeline_class.from_pretrained(
            found.path, variant=found.variant, **local, **self.options, **parts
        )
        pipeline.set_progress_bar_config(disable=True)
        pipeline.vae.tile_sample_min_size = TILE_SIDE
        pipeline.vae.tile_latent_min_size = TILE_SIDE // pipeline.vae_scale_factor
        pipeline.vae.enable_tiling()
        return pipeline.to(device)

    def _paint(self, params: ImageParams, on_step: OnStep) -> Image.Image:
        pipeline = self._pipeline
        multiple = self._multiple(pipeline)

        def after_step(_: Any, index: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(index + 1, params.steps)
            return tensors

        with numpy_copy_warning_ignored():
            result = pipeline(
                prompt=params.prompt,
                width=sizes.padded(params.width, multiple),
                height=sizes.padded(params.height, multiple),
                num_inference_steps=params.steps,
                generator=seeds.generator(params.seed),
                callback_on_step_end=after_step,
                **self._arguments(pipeline, params),
            )
        image: Image.Image = result.images[0]
        return sizes.crop(image, params.width, params.height)


def _tensor_bytes(pipeline: DiffusionPipeline) -> int:
    """Bytes of every parameter and buffer of every part of a pipeline."""
    total = 0
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            for tensor in (*part.parameters(), *part.buffers()):
                total += tensor.numel() * tensor.element_size()
    return total
