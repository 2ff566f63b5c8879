"""Shap-E at full size with random weights: as large, as slow as the real one."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import HeunDiscreteScheduler, PriorTransformer, ShapEPipeline
from diffusers.pipelines.shap_e import ShapERenderer
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from models.parts.quiet import numpy_copy_warning_ignored
from models.tiny.vocabulary import clip_tokenizer
from tests.gpu import configs, configs_3d
from tests.models.checkpoints.shap_e import as_published

MODEL = "shap-e"


def networks(device: str) -> dict[str, torch.nn.Module]:
    """The networks by their part's name, made on ``device`` (``meta``: nowhere)."""
    tokenizer = clip_tokenizer()
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = CLIPTextConfig(**configs.CLIP_L, **ids)
    with torch.device(device):
        made = {
            "prior": PriorTransformer(**configs_3d.SHAP_E_PRIOR),
            "text_encoder": CLIPTextModelWithProjection(text),
            "shap_e_renderer": ShapERenderer(**configs_3d.SHAP_E_RENDERER),
        }
    return {part: network.eval().requires_grad_(False) for part, network in made.items()}


def save(folder: Path) -> None:
    """Write the checkpoint to ``<folder>/shap-e``, 2.7 GB, laid out as published."""
    tokenizer = clip_tokenizer()
    made = networks("cpu")
    with torch.no_grad():
        # Of random weights all may be outside; a whole cube has some 190,000 faces.
        last = made["shap_e_renderer"].mlp.mlp[-1]
        last.weight[0] = 0
        last.bias[0] = 0.5
    with numpy_copy_warning_ignored():
        scheduler = HeunDiscreteScheduler(**configs_3d.SHAP_E_SCHEDULER)
        whole = ShapEPipeline(tokenizer=tokenizer, scheduler=scheduler, **made)
    as_published(whole, folder / MODEL)
