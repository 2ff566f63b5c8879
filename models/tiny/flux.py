"""The trained miniatures of FLUX.1: the real classes, small; they draw simple scenes.

[schnell] and [dev] are one set of weights. [dev]'s transformer is told the guidance scale;
[schnell]'s has one scale built in, as the published one was distilled to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from models.tiny import networks
from models.tiny.trained import FOLDER, load
from models.tiny.vocabulary import clip_tokenizer, t5_tokenizer

GUIDANCE = 4.0
"""The scale that [schnell] has built in."""


def build(folder: Path, weights: Path = FOLDER) -> None:
    """Write [schnell]'s checkpoint in diffusers' layout.

    Raises:
        WeightsMissing: the trained weights are not there.
    """
    pipeline = FluxPipeline(**components(guidance=False, weights=weights))
    pipeline.save_pretrained(folder, safe_serialization=True)


def components(*, guidance: bool, weights: Path = FOLDER) -> dict[str, Any]:
    """What a pipeline of the FLUX.1 family consists of; ``guidance`` as in [dev]."""
    guided = load(networks.transformer(guidance=True), "flux_transformer", weights)
    return {
        "vae": load(networks.autoencoder(), "vae", weights),
        "text_encoder": load(networks.text_encoder(), "flux_text_encoder", weights),
        "text_encoder_2": load(networks.t5(), "flux_text_encoder_2", weights),
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": t5_tokenizer(networks.T5_TOKENS_MAX),
        "transformer": guided if guidance else _with_guidance_built_in(guided),
        "scheduler": networks.flow(),
    }


@torch.no_grad()
def _with_guidance_built_in(guided: FluxTransformer2DModel) -> FluxTransformer2DModel:
    """The same transformer without the input: what it says of one scale becomes a bias.

    Both embeddings are added up after their last layer, so the sum is exactly the same.
    """
    embed = guided.time_text_embed
    scale = embed.time_proj(torch.tensor([GUIDANCE * 1000]))
    said = embed.guidance_embedder(scale)[0]
    weights = {k: v for k, v in guided.state_dict().items() if ".guidance_embedder." not in k}
    key = "time_text_embed.timestep_embedder.linear_2.bias"
    weights[key] = weights[key] + said
    plain = networks.transformer(guidance=False)
    plain.load_state_dict(weights)
    return plain.eval().requires_grad_(False)
