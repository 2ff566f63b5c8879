"""A tiny FLUX.1 Kontext checkpoint: the real classes, small, with random weights.

What it makes of a picture is an abstract colour field that changes with picture, prompt and seed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FluxKontextPipeline

from models.tiny import flux, parts

SAMPLE_SIZE = 384
"""Pixels of a side of what it paints, whatever the result's size: a CPU does that in a second."""


def build(folder: Path) -> None:
    """Write the checkpoint in diffusers' layout; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        parts.fixed_seed()
        made = flux.components(guidance=True, sample_size=SAMPLE_SIZE)
        pipeline = FluxKontextPipeline(**made)
    pipeline.save_pretrained(folder, safe_serialization=True)
