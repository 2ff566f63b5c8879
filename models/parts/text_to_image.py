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

from farm.errors import FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models.base import faults
from models.parts import encoding, seeds, sizes, speed
from models.parts.diffusion import Diffusion, open_pipeline
from models.parts.edit_order import Order
from models.parts.image_params import EditParams, ImageParams
from models.parts.loaded_engine import LoadedEngine
from models.parts.pictures import Rows


class TextToImageEngine(LoadedEngine[Diffusion]):
    """A :class:`models.base.Engine` around one diffusers pipeline class."""

    pipeline_class: ClassVar[type[Any]]
    gpu_dtype: ClassVar[torch.dtype]
    options: ClassVar[Mapping[str, Any]] = {}
    """What else the pipeline class takes when it is loaded."""

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One picture of exactly the size asked for."""
        if request.operation != "generate":
            raise InvalidRequest([FieldError("operation", "must be generate.")])
        params = ImageParams.read(request.params)
        self._loaded()
        with faults(self.served_by, "running", self._setup.interrupts):
            return [_artifact(request, params, self._paint(params, on_step))]

    def _open(self, device: str) -> Diffusion:
        """Half precision on a GPU, float32 on a CPU."""
        setup, kind = self._setup, self.pipeline_class
        # The warm-up paints with it already.
        self._model = model = open_pipeline(setup, kind, self.gpu_dtype, device, **self.options)
        model.make_quick(setup, self._warm_up)
        return model

    def _size(self, model: Diffusion) -> int:
        return model.resident_bytes

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
        model = self._loaded()
        pipeline = model.pipeline
        multiple = self._multiple(pipeline)
        image = model.paint(
            on_step,
            params.steps,
            prompt=params.prompt,
            width=sizes.padded(params.width, multiple),
            height=sizes.padded(params.height, multiple),
            generator=seeds.generator(params.seed),
            **self._arguments(pipeline, params),
        )
        return sizes.crop(image, params.width, params.height)


class EditingEngine(TextToImageEngine):
    """A text-to-image engine that changes pictures as well, by the same weights."""

    edit_parameters: ClassVar[tuple[str, ...]] = ()
    """What an edit takes beside what every edit takes."""

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One picture of exactly the size asked for."""
        if request.operation == "generate":
            return super().run(request, on_step)
        if request.operation != "edit":
            raise InvalidRequest([FieldError("operation", "must be generate or edit.")])
        params = EditParams.read(request.params, *self.edit_parameters)
        self._loaded()
        with faults(self.served_by, "running", self._setup.interrupts):
            order = Order.read(request, params)
            image = self._change(order, on_step)
            return [_artifact(request, params, sizes.crop(image, *order.size))]

    @abc.abstractmethod
    def _change(self, order: Order, on_step: OnStep) -> Image.Image:
        """The changed picture, in the middle of one that may be larger."""


def _artifact(
    request: RunRequest, params: ImageParams | EditParams, image: Image.Image
) -> Artifact:
    """What a job has painted, as the file that it asked for."""
    facts = {"seed": params.seed, "steps": params.steps}
    said = {"model": request.model, **facts, "job_id": request.job_id}
    return encoding.picture(Rows.of(np.asarray(image)), params.output_format, said, facts)
