"""A small CogVideoX checkpoint: the real classes with random weights, films of soft colours."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from models.tiny import parts
from models.tiny.vocabulary import t5_tokenizer

_CHANNELS = 4
_WIDTHS = (2, 2, 2)
"""Of the autoencoder's levels; a latent is 4 x 4 pixels and, but for the first, four frames."""
_PATCH = 12
"""Latents of a side of what the transformer sees as one."""


def write(folder: Path) -> None:
    """Write it in diffusers' layout."""
    tokenizer = t5_tokenizer()
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        pipeline = CogVideoXPipeline(
            tokenizer=tokenizer,
            text_encoder=T5EncoderModel(
                T5Config(
                    vocab_size=len(tokenizer),
                    d_model=parts.TEXT_WIDTH,
                    d_kv=16,
                    d_ff=2 * parts.TEXT_WIDTH,
                    num_layers=2,
                    num_heads=2,
                    feed_forward_proj="gated-gelu",
                )
            ),
            vae=AutoencoderKLCogVideoX(
                block_out_channels=_WIDTHS,
                down_block_types=("CogVideoXDownBlock3D",) * len(_WIDTHS),
                up_block_types=("CogVideoXUpBlock3D",) * len(_WIDTHS),
                latent_channels=_CHANNELS,
                layers_per_block=0,
                norm_num_groups=2,
            ),
            transformer=_transformer(),
            scheduler=_scheduler(),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)


def _transformer() -> CogVideoXTransformer3DModel:
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=_CHANNELS,
        out_channels=_CHANNELS,
        time_embed_dim=8,
        text_embed_dim=parts.TEXT_WIDTH,
        num_layers=2,
        sample_width=180,
        sample_height=120,
        patch_size=_PATCH,
    )
    with torch.no_grad():
        # As initialised, the prompt barely shows.
        transformer.patch_embed.text_proj.weight *= 20
        transformer.proj_out.weight *= 6
    return transformer


def _scheduler() -> CogVideoXDDIMScheduler:
    """As published with the real model."""
    return CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        set_alpha_to_one=True,
        snr_shift_scale=3.0,
        timestep_spacing="trailing",
    )
