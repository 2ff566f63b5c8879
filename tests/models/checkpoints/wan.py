"""Small Wan 2.1 checkpoints: the real classes with random weights, films of coloured patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
)

from models.tiny import parts
from models.tiny.vocabulary import t5_tokenizer

_CHANNELS = 4
_WIDTH = 32
"""Of the transformer."""


_SIGHT = 32
"""Pixels of a side of what the image encoder looks at."""


def write(folder: Path, patch: int = 8) -> None:
    """Write the one for text to video in diffusers' layout.

    ``patch`` are the pixels of a side that the decoder's last layer writes at once. A latent is
    four times that, and four frames but for the first: 32 pixels are quick, 16 fit into 720p.
    """
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        pipeline = WanPipeline(**_shared(patch), transformer=_transformer(_CHANNELS))
    pipeline.save_pretrained(folder, safe_serialization=True)


def write_for_pictures(folder: Path, patch: int = 8) -> None:
    """Write the one for image to video; see :func:`write`."""
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        pipeline = WanImageToVideoPipeline(
            **_shared(patch),
            image_processor=CLIPImageProcessor(
                size={"shortest_edge": _SIGHT}, crop_size={"height": _SIGHT, "width": _SIGHT}
            ),
            image_encoder=CLIPVisionModel(
                CLIPVisionConfig(
                    hidden_size=parts.TEXT_WIDTH,
                    intermediate_size=2 * parts.TEXT_WIDTH,
                    projection_dim=parts.TEXT_WIDTH,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    image_size=_SIGHT,
                    patch_size=8,
                )
            ),
            # The noise, the picture's latents, and for each of four frames whether it is given.
            transformer=_transformer(
                2 * _CHANNELS + 4, image_dim=parts.TEXT_WIDTH, added_kv_proj_dim=_WIDTH
            ),
        )
    pipeline.save_pretrained(folder, safe_serialization=True)


def _shared(patch: int) -> dict[str, Any]:
    """The parts that both have."""
    tokenizer = t5_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": UMT5EncoderModel(
            UMT5Config(
                vocab_size=len(tokenizer),
                d_model=parts.TEXT_WIDTH,
                d_kv=16,
                d_ff=2 * parts.TEXT_WIDTH,
                num_layers=2,
                num_heads=2,
            )
        ),
        "vae": _autoencoder(patch),
        # As published with the real model.
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            num_train_timesteps=1000,
            flow_shift=3.0,
        ),
    }


def _autoencoder(patch: int) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=_CHANNELS,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * _CHANNELS,
        latents_std=[1.0] * _CHANNELS,
        in_channels=3 * patch**2,
        out_channels=3 * patch**2,
        patch_size=patch,
        scale_factor_spatial=4 * patch,
        scale_factor_temporal=4,
    )


def _transformer(in_channels: int, **config: Any) -> WanTransformer3DModel:
    transformer = WanTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=2,
        attention_head_dim=_WIDTH // 2,
        in_channels=in_channels,
        out_channels=_CHANNELS,
        text_dim=parts.TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        **config,
    )
    with torch.no_grad():
        # As initialised, the prompt barely shows.
        for block in transformer.blocks:
            block.attn2.to_out[0].weight *= 20
    return transformer
