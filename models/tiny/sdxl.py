"""A tiny Stable Diffusion XL checkpoint: the real classes, small, with random weights.

Its pictures are abstract colour fields that change with prompt and seed and show nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

from models.tiny import parts
from models.tiny.vocabulary import clip_tokenizer


def build(folder: Path) -> None:
    """Write the checkpoint in diffusers' layout; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        pipeline = StableDiffusionXLPipeline(**components(), add_watermarker=False)
    pipeline.save_pretrained(folder, safe_serialization=True)


def components(in_channels: int = 4, sample_size: int = 32) -> dict[str, Any]:
    """What a pipeline of the SDXL family consists of.

    ``in_channels`` are the UNet's: 4 for the noisy latents, 9 where a mask and the latents of
    the picture around it come with them. ``sample_size`` is a side of the pictures that it
    paints by itself, in latents of 32 pixels each.
    """
    tokenizer = clip_tokenizer()
    return {
        "vae": parts.autoencoder(scaling_factor=0.13025),
        "text_encoder": parts.text_encoder(tokenizer),
        "text_encoder_2": parts.text_encoder(tokenizer, projection=True),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "unet": _unet(in_channels, sample_size),
        "scheduler": _scheduler(),
    }


def _unet(in_channels: int, sample_size: int) -> UNet2DConditionModel:
    time_width = 8
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=2 * parts.TEXT_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        # The pooled text, and six numbers about sizes and crops.
        projection_class_embeddings_input_dim=parts.TEXT_WIDTH + 6 * time_width,
    )


def _scheduler() -> EulerDiscreteScheduler:
    """As published with the real model."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )
