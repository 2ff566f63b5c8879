"""FLUX.1 (Black Forest Labs, 2024): a rectified-flow transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import FluxImg2ImgPipeline, FluxPipeline
from PIL import Image

from farm.types import OnStep
from models.parts import seeds
from models.parts.diffusion import Diffusion
from models.parts.edit_order import Order, framed
from models.parts.image_params import ImageParams
from models.parts.text_to_image import EditingEngine

STRENGTH_MIN = 0.02
"""Less noise than this changes nothing that an eye sees, and none at all cannot be taken off."""


class FluxEngine(EditingEngine):
    """Text to image, and a picture painted over; these models know no negative prompt.

    To edit, the picture is covered by noise to the share that ``strength`` says, and all of
    the job's steps go into taking it off again (SDEdit, Meng et al., 2021, arXiv:2108.01073).
    The library's own way leaves steps out instead: of the four that [schnell] takes, any
    strength from 0.75 up would leave none out, and nothing of the picture in.
    """

    pipeline_class = FluxPipeline
    gpu_dtype = torch.bfloat16
    edit_parameters = ("strength",)

    _editor: Diffusion | None = None

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._editor = None
        super().unload()

    def _open(self, device: str) -> Diffusion:
        model = super()._open(device)
        self._editor = model.around(FluxImg2ImgPipeline)
        return model

    def _multiple(self, pipeline: Any) -> int:
        # Latents are packed in 2x2 patches.
        return int(pipeline.vae_scale_factor) * 2

    def _arguments(self, pipeline: Any, params: ImageParams) -> dict[str, Any]:
        return _guided(pipeline, params.guidance_scale)

    def _change(self, order: Order, on_step: OnStep) -> Image.Image:
        assert self._editor is not None
        pipeline, params = self._editor.pipeline, order.params
        before = framed(order.first(), self._multiple(pipeline))
        most = max(STRENGTH_MIN, params.strength)
        return self._editor.paint(
            on_step,
            params.steps,
            prompt=params.prompt,
            image=before,
            width=before.width,
            height=before.height,
            # The noise is in the sigmas already; no step is to be left out.
            sigmas=np.linspace(most, most / params.steps, params.steps).tolist(),
            strength=1.0,
            generator=seeds.generator(params.seed),
            **_guided(pipeline, params.guidance_scale),
        )


def _guided(pipeline: Any, guidance_scale: float) -> dict[str, Any]:
    # [schnell], which has no guidance embedding, was distilled with 256 text tokens,
    # [dev] with 512 (their model cards).
    distilled_for_speed = not pipeline.transformer.config.guidance_embeds
    return {
        "guidance_scale": guidance_scale,
        "max_sequence_length": 256 if distilled_for_speed else 512,
    }
