"""Both Wan 2.1 14B and CogVideoX 2B at full size with random weights: as large, as slow as the
real ones."""

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
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from models.tiny.vocabulary import t5_tokenizer
from tests.gpu import configs, configs_3d

MODELS = ("wan2.1", "wan-i2v", "cogvideo-2b")
PARAMETERS = {**configs.PARAMETERS, **configs_3d.PARAMETERS}
_DTYPES = dict.fromkeys(MODELS, torch.bfloat16) | {"cogvideo-2b": torch.float16}


def networks(model_id: str, device: str) -> dict[str, torch.nn.Module]:
    """The networks of a model by their part's name, made on ``device`` (``meta``: nowhere) in
    half precision, with each library's own random start."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(_DTYPES[model_id])
    try:
        with torch.device(device):
            made = _cogvideox() if model_id == "cogvideo-2b" else _wan(model_id)
    finally:
        torch.set_default_dtype(before)
    return {part: network.eval().requires_grad_(False) for part, network in made.items()}


def save(model_id: str, device: str, folder: Path) -> None:
    """Write a model's checkpoint to ``<folder>/<model_id>``: 41 GB of Wan for words, 47 GB of
    the one for pictures, 14 GB of CogVideoX."""
    made_of: dict[str, Any] = {"tokenizer": t5_tokenizer(), **networks(model_id, device)}
    if model_id == "wan2.1":
        scheduler: Any = UniPCMultistepScheduler(**configs.WAN_SCHEDULER)
        whole: Any = WanPipeline(scheduler=scheduler, **made_of)
    elif model_id == "wan-i2v":
        scheduler = UniPCMultistepScheduler(**configs.WAN_SCHEDULER)
        sight = CLIPImageProcessor()
        whole = WanImageToVideoPipeline(scheduler=scheduler, image_processor=sight, **made_of)
    else:
        scheduler = CogVideoXDDIMScheduler(**configs.COGVIDEOX_SCHEDULER)
        whole = CogVideoXPipeline(scheduler=scheduler, **made_of)
    whole.save_pretrained(folder / model_id, safe_serialization=True)


def _wan(model_id: str) -> dict[str, torch.nn.Module]:
    sees = model_id == "wan-i2v"
    config = configs_3d.WAN_IMAGE_TRANSFORMER if sees else configs.WAN_TRANSFORMER
    eyes = CLIPVisionConfig(**configs_3d.CLIP_VIT_H)
    return {
        **({"image_encoder": CLIPVisionModel(eyes)} if sees else {}),
        "transformer": WanTransformer3DModel(**config),
        "vae": AutoencoderKLWan(**configs.WAN_VAE),
        "text_encoder": UMT5EncoderModel(UMT5Config(**configs.UMT5_XXL)),
    }


def _cogvideox() -> dict[str, torch.nn.Module]:
    return {
        "transformer": CogVideoXTransformer3DModel(**configs.COGVIDEOX_TRANSFORMER),
        "vae": AutoencoderKLCogVideoX(**configs.COGVIDEOX_VAE),
        "text_encoder": T5EncoderModel(T5Config(**configs.T5_XXL)),
    }
