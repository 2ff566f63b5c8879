"""A tiny FLUX.1 [dev] checkpoint: as the one of [schnell], and with its guidance embedded."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FluxPipeline

from models.tiny import flux, parts


def build(folder: Path) -> None:
    """Write the checkpoint in diffusers' layout; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        pipeline = FluxPipeline(**flux.components(guidance=True))
    pipeline.save_pretrained(folder, safe_serialization=True)
