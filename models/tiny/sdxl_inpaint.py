"""A tiny SDXL inpainting checkpoint: the real classes, small, with random weights.

The scenes that it paints are abstract colour fields that change with prompt and seed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionXLInpaintPipeline

from models.tiny import parts, sdxl

MASK_AND_LATENTS = 9
"""The UNet's channels: the noise, the mask, and the latents of what is not painted."""
SAMPLE_SIZE = 12
"""It works on pictures of about 384 x 384 pixels, which a CPU paints in a second."""


def build(folder: Path) -> None:
    """Write the checkpoint in diffusers' layout; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        made = sdxl.components(MASK_AND_LATENTS, SAMPLE_SIZE)
        pipeline = StableDiffusionXLInpaintPipeline(**made, add_watermarker=False)
    pipeline.save_pretrained(folder, safe_serialization=True)
