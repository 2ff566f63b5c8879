"""SDXL and the FLUX models at full size with random weights: as slow as the real ones.

What a step costs does not depend on what the weights are, so speed and memory can be measured
where the real weights are not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

from models.tiny.vocabulary import clip_tokenizer, qwen_tokenizer, t5_tokenizer
from tests.gpu import configs

PIPELINES: dict[str, type[Any]] = {
    "sdxl": StableDiffusionXLPipeline,
    "flux-schnell": FluxPipeline,
    "flux-dev": FluxPipeline,
    "flux-kontext": FluxKontextPipeline,
    "flux-2": Flux2KleinPipeline,
}
MODELS = tuple(PIPELINES)


def networks(model_id: str, device: str, dtype: torch.dtype) -> dict[str, torch.nn.Module]:
    """The networks of a model by their part's name, made on ``device`` (``meta``: nowhere).

    The weights are each library's own random start, drawn on the device.
    """
    tokenizer = clip_tokenizer()
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    clip_l = CLIPTextConfig(**configs.CLIP_L, **ids)
    with _made_on(device, dtype):
        if model_id == "sdxl":
            bigg = CLIPTextConfig(**configs.OPENCLIP_BIGG, **ids)
            made = {
                "unet": UNet2DConditionModel(**configs.SDXL_UNET),
                "vae": AutoencoderKL(**configs.SDXL_VAE),
                "text_encoder": CLIPTextModel(clip_l),
                "text_encoder_2": CLIPTextModelWithProjection(bigg),
            }
        elif model_id == "flux-2":
            made = {
                "transformer": Flux2Transformer2DModel(**configs.FLUX_2_TRANSFORMER),
                "vae": AutoencoderKLFlux2(),
                "text_encoder": Qwen3ForCausalLM(Qwen3Config(**configs.QWEN3_4B)),
            }
        else:
            schnell = model_id == "flux-schnell"
            kind = configs.FLUX_TRANSFORMER if schnell else configs.FLUX_DEV_TRANSFORMER
            made = {
                "transformer": FluxTransformer2DModel(**kind),
                "vae": AutoencoderKL(**configs.FLUX_VAE),
                "text_encoder": CLIPTextModel(clip_l),
                "text_encoder_2": T5EncoderModel(T5Config(**configs.T5_XXL)),
            }
    return {part: network.eval().requires_grad_(False) for part, network in made.items()}


def pipeline(model_id: str, device: str, dtype: torch.dtype) -> Any:
    """A model's whole pipeline on a device, as the library runs it when nobody tunes it.

    The small tokenizers of the tiny checkpoints stand in for the published vocabularies; a
    prompt is padded to the same number of tokens.
    """
    made = networks(model_id, device, dtype)
    if model_id == "sdxl":
        tokenizers = {"tokenizer": clip_tokenizer(), "tokenizer_2": clip_tokenizer()}
        scheduler: Any = EulerDiscreteScheduler(**configs.SDXL_SCHEDULER)
        more: dict[str, Any] = {"add_watermarker": False}
    else:
        schnell = model_id == "flux-schnell"
        kind = configs.FLUX_SCHEDULER if schnell else configs.FLUX_DEV_SCHEDULER
        scheduler = FlowMatchEulerDiscreteScheduler(**kind)
        tokenizers = {"tokenizer": clip_tokenizer(), "tokenizer_2": t5_tokenizer()}
        more = {}
    if model_id == "flux-2":
        tokenizers = {"tokenizer": qwen_tokenizer()}
        more = {"is_distilled": True}
    made_of = {**made, **tokenizers, **more}
    whole: Any = PIPELINES[model_id](scheduler=scheduler, **made_of)
    whole.set_progress_bar_config(disable=True)
    return whole


def save(model_id: str, device: str, dtype: torch.dtype, folder: Path) -> Path:
    """Write a model's checkpoint to ``<folder>/<model_id>``: 7 GB of SDXL, 16 GB of FLUX.2,
    34 GB of FLUX.1."""
    path = folder / model_id
    pipeline(model_id, device, dtype).save_pretrained(path, safe_serialization=True)
    return path


@contextlib.contextmanager
def _made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """New networks come to be on this device and in this precision, with no copy in between."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
