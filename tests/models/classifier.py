"""A small ViT whose weights are set by hand, so that red pictures are ``nsfw``."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

SIDE = 32
LABELS = ("normal", "nsfw")
_PATCH = 16
_BIAS_TO_NORMAL = 2.0
_STRENGTH = 4.0


def write(folder: Path, labels: tuple[str, str] = LABELS, problem_type: str | None = None) -> Path:
    """Write the checkpoint as transformers saves one; returns the folder.

    Of plain red it says the second label with a probability above 0.99, of grey, white and
    blue with 0.12, of green with less.
    """
    config = ViTConfig(
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        image_size=SIDE,
        patch_size=_PATCH,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        problem_type=problem_type,
    )
    model = ViTForImageClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1 if "norm" in name and name.endswith("weight") else 0)
        parts = dict(model.named_parameters())
        # A patch becomes its mean colour; the one head takes the mean of all patches over.
        for channel in range(3):
            parts["vit.embeddings.patch_embeddings.projection.weight"][channel, channel] = (
                1 / _PATCH**2
            )
        for name, parameter in parts.items():
            if name.endswith(("v_proj.weight", "o_proj.weight")):
                parameter.copy_(torch.eye(4))
        parts["classifier.weight"][1, 0] = _STRENGTH
        parts["classifier.weight"][1, 1] = -_STRENGTH
        parts["classifier.bias"][0] = _BIAS_TO_NORMAL
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder
