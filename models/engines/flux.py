"""FLUX.1 (Black Forest Labs, 2024): a rectified-flow transformer."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxPipeline

from models.parts.image_params import ImageParams
from models.parts.text_to_image import TextToImageEngine


class FluxEngine(TextToImageEngine):
    """Text to image in few steps; the distilled model knows no negative prompt."""

    pipeline_class = FluxPipeline
    gpu_dtype = torch.bfloat16

    def _multiple(self, pipeline: Any) -> int:
        # Latents are packed in 2x2 patches.
        return int(pipeline.vae_scale_factor) * 2

    def _arguments(self, pipeline: Any, params: ImageParams) -> dict[str, Any]:
        # [schnell], which has no guidance embedding, was distilled with 256 text tokens,
        # [dev] with 512 (their model cards).
        distilled_for_speed = not pipeline.transformer.config.guidance_embeds
        return {
            "guidance_scale": params.guidance_scale,
            "max_sequence_length": 256 if distilled_for_speed else 512,
        }
