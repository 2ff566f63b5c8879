"""Stable Diffusion XL (Podell et al., 2023, arXiv:2307.01952)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionXLPipeline

from models.parts.image_params import ImageParams
from models.parts.text_to_image import TextToImageEngine


class SdxlEngine(TextToImageEngine):
    """Text to image with classifier-free guidance and a negative prompt.

    Loaded from the hub it runs in fp16 with a VAE that was fine-tuned for it; a folder's own
    VAE is used as it is, and the pipeline decodes in float32 where that VAE says so.
    """

    pipeline_class = StableDiffusionXLPipeline
    gpu_dtype = torch.float16
    # Left alone, an invisible watermark appears wherever a certain package is installed.
    options: ClassVar[Mapping[str, Any]] = {"add_watermarker": False}

    def _multiple(self, pipeline: Any) -> int:
        # The pipeline refuses anything but multiples of 8, whatever its VAE.
        return math.lcm(8, pipeline.vae_scale_factor)

    def _arguments(self, pipeline: Any, params: ImageParams) -> dict[str, Any]:
        # An empty negative prompt is none: the model was trained on zeros there.
        return {
            "guidance_scale": params.guidance_scale,
            "negative_prompt": params.negative_prompt or None,
        }
