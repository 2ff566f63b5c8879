"""Wan 2.1 14B and CogVideoX 2B at full size with random weights: as large, as slow as the real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from models.tiny.vocabulary import t5_tokenizer
from tests.gpu import configs

MODELS = ("wan2.1", "cogvideo-2b")
_DTYPES = {"wan2.1": torch.bfloat16, "cogvideo-2b": torch.float16}


def networks(model_id: str, device: str) -> dict[str, torch.nn.Module]:
    """The networks of a model by their part's name, made on ``device`` (``meta``: nowhere) in
    half precision, with each library's own random start."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(_DTYPES[model_id])
    try:
        with torch.device(device):
            made = _wan() if model_id == "wan2.1" else _cogvideox()
    finally:
        torch.set_default_dtype(before)
    return {part: network.eval().requires_grad_(False) for part, network in made.items()}


def save(model_id: str, device: str, folder: Path) -> None:
    """Write a model's checkpoint to ``<folder>/<model_id>``: 41 GB of Wan, 14 GB of CogVideoX."""
    made_of: dict[str, Any] = {"tokenizer": t5_tokenizer(), **networks(model_id, device)}
    if model_id == "wan2.1":
        scheduler: Any = UniPCMultistepScheduler(**configs.WAN_SCHEDULER)
        whole: Any = WanPipeline(scheduler=scheduler, **made_of)
    else:
        scheduler = CogVideoXDDIMScheduler(**configs.COGVIDEOX_SCHEDULER)
        whole = CogVideoXPipeline(scheduler=scheduler, **made_of)
    whole.save_pretrained(folder / model_id, safe_serialization=True)


def _wan() -> dict[str, torch.nn.Module]:
    return {
        "transformer": WanTransformer3DModel(**configs.WAN_TRANSFORMER),
        "vae": AutoencoderKLWan(**configs.WAN_VAE),
        "text_encoder": UMT5EncoderModel(UMT5Config(**configs.UMT5_XXL)),
    }


def _cogvideox() -> dict[str, torch.nn.Module]:
    return {
        "transformer": CogVideoXTransformer3DModel(**configs.COGVIDEOX_TRANSFORMER),
        "vae": AutoencoderKLCogVideoX(**configs.COGVIDEOX_VAE),
        "text_encoder": T5EncoderModel(T5Config(**configs.T5_XXL)),
    }
