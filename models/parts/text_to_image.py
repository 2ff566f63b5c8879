"""What every diffusers text-to-image engine does around its own pipeline.

Input check, seed, size, progress, cancel, encoding, memory and errors are here; an engine
file holds what is particular to its family.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from farm.errors import EngineFault, FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models.base import EngineSetup, faults
from models.parts import encoding, seeds, sizes, speed
from models.parts.diffusion import Diffusion, open_pipeline
from models.parts.image_params import ImageParams
from models.parts.memory import released
from models.parts.pictures import Rows


class TextToImageEngine(abc.ABC):
    """A :class:`models.base.Engine` around one diffusers pipeline class."""

    pipeline_class: ClassVar[type[Any]]
    gpu_dtype: ClassVar[torch.dtype]
    options: ClassVar[Mapping[str, Any]] = {}
    """What else the pipeline class takes when it is loaded."""

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._model: Diffusion | None = None

    @property
    def served_by(self) -> str:
        """What truly makes the picture."""
        return self._setup.served_by

    @property
    def resident_bytes(self) -> int:
        """The device memory that loading took, in bytes; 0 while unloaded."""
        return self._model.resident_bytes if self._model else 0

    def load(self, device: str) -> None:
        """See :meth:`models.base.Engine.load`. Half precision on a GPU, float32 on a CPU."""
        if self._model is not None:
            return
        setup = self._setup
        try:
            with faults(self.served_by, "loading", setup.interrupts):
                kind, dtype = self.pipeline_class, self.gpu_dtype
                self._model = open_pipeline(setup, kind, dtype, device, **self.options)
                self._model.make_quick(setup, self._warm_up)
        except BaseException:
            self.unload()  # half a model must not stay on the device
            raise

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One PNG of exactly the size asked for."""
        if request.operation != "generate":
            raise InvalidRequest([FieldError("operation", "must be generate.")])
        params = ImageParams.read(request.params)
        if self._model is None:
            raise EngineFault(f"The {self.served_by} engine was asked to run before it was loaded.")
        with faults(self.served_by, "running", self._setup.interrupts):
            image = self._paint(params, on_step)
            facts = {"seed": params.seed, "steps": params.steps}
            chunks = {"model": request.model, **facts, "job_id": request.job_id}
            data = encoding.png_rows(Rows.of(np.asarray(image)), chunks)
        size = {"width": image.width, "height": image.height}
        return [Artifact(data, "image/png", "images", "png", facts | size)]

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._model = None
        released()

    @abc.abstractmethod
    def _multiple(self, pipeline: Any) -> int:
        """Pixels that both sides of a picture must be a multiple of."""

    @abc.abstractmethod
    def _arguments(self, pipeline: Any, params: ImageParams) -> dict[str, Any]:
        """The pipeline's own arguments, beside prompt, size, steps and generator."""

    def _warm_up(self) -> None:
        side, steps = speed.WARM_SIDE, speed.WARM_STEPS
        # Guidance doubles what a step works on; whoever asks for none runs uncompiled.
        params = ImageParams("warm up", side, side, steps, seed=0, guidance_scale=5.0)
        self._paint(params, lambda step, steps: None)

    def _paint(self, params: ImageParams, on_step: OnStep) -> Image.Image:
        assert self._model is not None
        pipeline = self._model.pipeline
        multiple = self._multiple(pipeline)
        image = self._model.paint(
            on_step,
            params.steps,
            prompt=params.prompt,
            width=sizes.padded(params.width, multiple),
            height=sizes.padded(params.height, multiple),
            generator=seeds.generator(params.seed),
            **self._arguments(pipeline, params),
        )
        return sizes.crop(image, params.width, params.height)
