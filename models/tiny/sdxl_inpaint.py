"""The trained miniature of SDXL as an inpainter: the same weights with masked latents.

The UNet has no channels for a mask, so the pipeline lays what is to be kept over the latents
after each step, noised as they are (Lugmayr et al., 2022, arXiv:2201.09865, without resampling).
"""

from __future__ import annotations

from pathlib import Path

from diffusers import StableDiffusionXLInpaintPipeline

from models.tiny import sdxl
from models.tiny.trained import FOLDER

SAMPLE_SIZE = 16
"""It works on pictures of about 512 x 512 pixels, as most that it was trained on."""


def build(folder: Path, weights: Path = FOLDER) -> None:
    """Write the checkpoint in diffusers' layout.

    Raises:
        WeightsMissing: the trained weights are not there.
    """
    parts = sdxl.components(weights)
    parts["unet"].register_to_config(sample_size=SAMPLE_SIZE)
    pipeline = StableDiffusionXLInpaintPipeline(
        **parts, add_watermarker=False, force_zeros_for_empty_prompt=False
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
