"""FLUX.2 [klein] (Black Forest Labs, 2026): a rectified-flow transformer that reads its words
through Qwen3, and pictures beside them."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from farm.types import OnStep
from models.parts import seeds, sizes
from models.parts.canvas import Canvas
from models.parts.edit_order import Order
from models.parts.image_params import ImageParams
from models.parts.text_to_image import EditingEngine

SEEN_SIDE_MIN, SEEN_SIDE_MAX = 256, 1000
"""The model looks at pictures of at most a megapixel, and at none with a side below 64 pixels
or longer than eight times the other. Each is laid on a canvas within that; its size is about
that of a square of this side."""


class Flux2Engine(EditingEngine):
    """Text to image in few steps, and up to four pictures made into a new one.

    The distilled model takes neither guidance nor a negative prompt.
    """

    pipeline_class = Flux2KleinPipeline
    gpu_dtype = torch.bfloat16

    def _multiple(self, pipeline: Any) -> int:
        # Latents are packed in 2x2 patches.
        return int(pipeline.vae_scale_factor) * 2

    def _arguments(self, pipeline: Any, params: ImageParams) -> dict[str, Any]:
        return {"guidance_scale": params.guidance_scale}

    def _change(self, order: Order, on_step: OnStep) -> Image.Image:
        model, params = self._loaded(), order.params
        multiple = self._multiple(model.pipeline)
        return model.paint(
            on_step,
            params.steps,
            prompt=params.prompt,
            image=[_seen(picture, multiple) for picture in order.pictures],
            width=sizes.padded(order.size[0], multiple),
            height=sizes.padded(order.size[1], multiple),
            guidance_scale=params.guidance_scale,
            generator=seeds.generator(params.seed),
        )


def _seen(picture: Image.Image, multiple: int) -> Image.Image:
    area = picture.width * picture.height
    side = min(SEEN_SIDE_MAX, max(SEEN_SIDE_MIN, round(area**0.5)))
    canvas = Canvas.around(picture.size, side, multiple)
    return canvas.lay(picture.convert("RGBA"))[0]
