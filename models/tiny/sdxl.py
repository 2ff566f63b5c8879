"""The trained miniature of Stable Diffusion XL: the real classes, small; it draws simple scenes.

What it understands and how well is on its model card, ``models/tiny/weights/README.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import StableDiffusionXLPipeline

from models.tiny import networks
from models.tiny.trained import FOLDER, load
from models.tiny.vocabulary import clip_tokenizer


def build(folder: Path, weights: Path = FOLDER) -> None:
    """Write the checkpoint in diffusers' layout.

    Raises:
        WeightsMissing: the trained weights are not there.
    """
    pipeline = StableDiffusionXLPipeline(
        **components(weights), add_watermarker=False, force_zeros_for_empty_prompt=False
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def components(weights: Path = FOLDER) -> dict[str, Any]:
    """What a pipeline of the SDXL family consists of. An empty prompt is one that it learned."""
    tokenizer = clip_tokenizer()
    return {
        "vae": load(networks.autoencoder(), "vae", weights),
        "text_encoder": load(networks.text_encoder(), "text_encoder", weights),
        "text_encoder_2": load(networks.text_encoder_2(), "text_encoder_2", weights),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "unet": load(networks.unet(), "unet", weights),
        "scheduler": networks.euler(),
    }
