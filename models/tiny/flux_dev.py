"""The trained miniature of FLUX.1 [dev]: the weights of [schnell]'s, told the guidance scale."""

from __future__ import annotations

from pathlib import Path

from diffusers import FluxPipeline

from models.tiny import flux
from models.tiny.trained import FOLDER


def build(folder: Path, weights: Path = FOLDER) -> None:
    """Write the checkpoint in diffusers' layout.

    Raises:
        WeightsMissing: the trained weights are not there.
    """
    pipeline = FluxPipeline(**flux.components(guidance=True, weights=weights))
    pipeline.save_pretrained(folder, safe_serialization=True)
