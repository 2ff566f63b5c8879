"""Small random-weight parts that the tiny checkpoints are put together from."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from models.tiny.vocabulary import CLIP_TOKENS_MAX, CLIP_VOCABULARY

SEED = 20_240_801
TEXT_WIDTH = 32


def text_encoder(tokenizer: Any, *, projection: bool = False) -> Any:
    """A CLIP text encoder, ``TEXT_WIDTH`` wide, that pools at the tokenizer's end token."""
    config = CLIPTextConfig(
        vocab_size=CLIP_VOCABULARY,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=CLIP_TOKENS_MAX,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=8.0,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def autoencoder(**config: Any) -> AutoencoderKL:
    """An autoencoder of five doublings: with a latent per 32 x 32 pixels the rest is quick."""
    return AutoencoderKL(**five_doublings(), force_upcast=False, **{"sample_size": 1024, **config})


def five_doublings() -> dict[str, Any]:
    """What the autoencoders of the tiny checkpoints have in common."""
    widths = (8, 16, 16, 32, 32, 32)
    return {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 4,
    }


def fixed_seed() -> None:
    """Start torch's random numbers at the recipes' seed."""
    torch.manual_seed(SEED)
