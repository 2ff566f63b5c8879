"""Small networks of CatVTON's classes with random weights, and a parser that knows the drawn
people of :mod:`tests.models.figures`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from tests.models.drawing import photographed, plain
from tests.models.figures import LABELS, Drawn, Figure, person

ATTENTION = Path("mix-48k-1024/attention/model.safetensors")
COUNTED_BY = 8
"""The published attention file numbers every submodule: of each eight, one has tensors."""
_RIDGE = 1e-5


@dataclass(frozen=True, slots=True)
class Sizes:
    """The networks' configurations; ``side`` is that of the parser's pictures."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    parser: dict[str, Any]
    side: int


SMALL = Sizes(
    {
        "sample_size": 16,
        "in_channels": 9,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "attention_head_dim": 2,
        "cross_attention_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
    {
        "block_out_channels": (16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 8,
        "sample_size": 32,
    },
    {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [32, 16, 16, 16],
        "num_attention_heads": [1, 1, 1, 1],
        "decoder_hidden_size": 256,
    },
    128,
)
# The published sizes: each part's config.json in the repositories that the model's card names.
FULL = Sizes(
    {
        "sample_size": 64,
        "in_channels": 9,
        "out_channels": 4,
        "layers_per_block": 2,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
        "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    },
    {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 256,
    },
    {
        "depths": [3, 4, 6, 3],
        "hidden_sizes": [64, 128, 320, 512],
        "num_attention_heads": [1, 2, 5, 8],
        "decoder_hidden_size": 768,
    },
    512,
)


def write(folder: Path, sizes: Sizes = SMALL, device: str = "cpu") -> None:
    """Write a folder as ``FARM_WEIGHTS`` wants it for the model, made on a device; what is not
    small, in half precision."""
    dtype = torch.float32 if sizes is SMALL else torch.float16
    with torch.device(device):
        unet = _unet(sizes, 5).to(dtype)
        unet.save_pretrained(folder / "unet" / "unet", variant="fp16")
        save_attention(_unet(sizes, 6).to(dtype), folder / "attention" / ATTENTION)
        torch.manual_seed(7)
        AutoencoderKL(**sizes.vae).to(dtype).save_pretrained(folder / "vae")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "unet" / "scheduler")
    _parser(folder / "parser", sizes)


def save_attention(unet: Any, file: Path) -> None:
    """Write a network's self-attentions the way that the published file has them."""
    modules = [module for name, module in unet.named_modules() if name.endswith(".attn1")]
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            f"{COUNTED_BY * number}.{name}": tensor.contiguous()
            for number, module in enumerate(modules)
            for name, tensor in module.state_dict().items()
        },
        file,
    )


def _unet(sizes: Sizes, seed: int) -> Any:
    torch.manual_seed(seed)
    return UNet2DConditionModel(**sizes.unet)


def _parser(folder: Path, sizes: Sizes) -> None:
    """SegFormer whose last layer alone is fitted, by least squares: its features are random,
    and enough to tell the colours of drawn people."""
    torch.manual_seed(8)
    config = SegformerConfig(
        **sizes.parser,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )
    model: Any = SegformerForSemanticSegmentation(config).eval()
    processor = SegformerImageProcessor(size={"height": sizes.side, "width": sizes.side})
    _fit(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _fit(model: Any, processor: Any) -> None:
    drawn = [
        *(person(Figure(size=size), seed) for seed in (1, 2) for size in ((360, 480), (480, 480))),
        *(person(Figure(dress=(160, 60, 120), sleeves=0), seed) for seed in (3, 4)),
        person(Figure(sleeves=1), 5),
        *(_nobody(level) for level in (60, 130, 200, 230)),
    ]
    features: list[torch.Tensor] = []
    classifier = model.decode_head.classifier
    hook = classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    images = [one.picture for one in drawn]
    with torch.inference_mode():
        model(**processor(images=images, return_tensors="pt"))
    hook.remove()
    planes = features[0]
    side = planes.shape[-1]
    rows = planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1]).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
    at = [_sampled(one.labels, side) for one in drawn]
    wanted = torch.nn.functional.one_hot(torch.from_numpy(np.stack(at)).reshape(-1), len(LABELS))
    # A shoe counts as much as the wall, which has a hundred times as many pixels.
    weight = (wanted.sum(dim=0).clamp(min=1).double() ** -0.7)[wanted.argmax(dim=1)][:, None]
    gram = rows.T @ (weight * rows)
    gram += _RIDGE * float(weight.sum()) * torch.eye(rows.shape[1], dtype=rows.dtype)
    solved = torch.linalg.solve(gram, rows.T @ (weight * wanted.double()))
    with torch.no_grad():
        classifier.weight.copy_(solved[:-1].T.float()[..., None, None])
        classifier.bias.copy_(solved[-1].float())


def _nobody(level: int) -> Drawn:
    random = np.random.default_rng(level)
    wall = photographed(plain((level, level, level))(random, 120, 120), random, 2)
    return Drawn(wall, np.zeros((120, 120), np.int64))


def _sampled(labels: Any, side: int) -> Any:
    ys = ((np.arange(side) + 0.5) * labels.shape[0] / side).astype(int)
    xs = ((np.arange(side) + 0.5) * labels.shape[1] / side).astype(int)
    return labels[ys][:, xs]
