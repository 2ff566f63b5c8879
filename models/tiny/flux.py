"""A tiny FLUX.1 [schnell] checkpoint: the real classes, small, with random weights.

Its pictures are abstract colour fields that change with prompt and seed and show nothing.
What an edit makes of a picture is one, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import T5Config, T5EncoderModel

from models.tiny import parts
from models.tiny.vocabulary import clip_tokenizer, t5_tokenizer


def build(folder: Path) -> None:
    """Write the checkpoint in diffusers' layout; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        pipeline = FluxPipeline(**components())
    pipeline.save_pretrained(folder, safe_serialization=True)


def components(*, guidance: bool = False, sample_size: int = 1024) -> dict[str, Any]:
    """What a pipeline of the FLUX.1 family consists of.

    ``guidance`` gives the transformer an embedding of the guidance scale, as [dev] has it;
    ``sample_size`` is a side, in pixels, of the pictures that it is at its best with.
    """
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    return {
        "vae": parts.autoencoder(
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
            sample_size=sample_size,
        ),
        "text_encoder": parts.text_encoder(tokenizer),
        "text_encoder_2": _t5(len(tokenizer_2)),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer_2,
        "transformer": _transformer(guidance),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=1.0),
    }


def _t5(vocabulary: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=parts.TEXT_WIDTH,
            d_kv=16,
            d_ff=2 * parts.TEXT_WIDTH,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def _transformer(guidance: bool) -> FluxTransformer2DModel:
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * 4,  # four latent channels, packed 2 x 2
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=parts.TEXT_WIDTH,
        pooled_projection_dim=parts.TEXT_WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    with torch.no_grad():
        # As initialised, four steps barely move the noise and the prompt barely shows.
        transformer.proj_out.weight *= 6
        transformer.time_text_embed.text_embedder.linear_2.weight *= 12
        if guidance:
            transformer.time_text_embed.guidance_embedder.linear_2.weight *= 6
    return transformer
