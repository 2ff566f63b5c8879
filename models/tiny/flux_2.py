"""A tiny FLUX.2 [klein] checkpoint: the real classes, small, with random weights.

Its pictures are abstract colour fields that change with prompt, pictures and seed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from transformers import Qwen3Config, Qwen3ForCausalLM

from models.tiny import parts
from models.tiny.vocabulary import qwen_tokenizer

LAYERS = 27
"""The pipeline reads what the text encoder holds after its 9th, 18th and 27th layer."""


def build(folder: Path) -> None:
    """Write the checkpoint in diffusers' layout; the same weights every time."""
    tokenizer = qwen_tokenizer()
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        pipeline = Flux2KleinPipeline(
            vae=AutoencoderKLFlux2(**parts.five_doublings()),
            text_encoder=_qwen(len(tokenizer)),
            tokenizer=tokenizer,
            transformer=_transformer(),
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            is_distilled=True,
        )
    pipeline.save_pretrained(folder, safe_serialization=True)


def _qwen(vocabulary: int) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=parts.TEXT_WIDTH,
            intermediate_size=2 * parts.TEXT_WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=1024,
            initializer_range=0.2,
        )
    )


def _transformer() -> Flux2Transformer2DModel:
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=4 * 4,  # four latent channels, packed 2 x 2
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * parts.TEXT_WIDTH,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    with torch.no_grad():
        # As initialised, four steps barely move the noise, and words and pictures, which come
        # in by attention alone, barely show.
        transformer.proj_out.weight *= 6
        for block in transformer.transformer_blocks:
            block.attn.to_out[0].weight *= 12
        for block in transformer.single_transformer_blocks:
            block.attn.to_out.weight *= 12
    return transformer
