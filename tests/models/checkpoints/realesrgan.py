"""A small RRDBNet that repeats every pixel and adds a little of what its blocks make of the
neighbourhood."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN

_FILTERS = 8
_RESIDUAL = 0.1


def write(path: Path, *, scale: int = 4) -> None:
    """Write the safetensors file; four times has the names of Real-ESRGAN's own files."""
    torch.manual_seed(5)
    network = ESRGAN(num_filters=_FILTERS, num_blocks=1, scale=scale)
    with torch.no_grad():
        sequence = network.model
        trunk = sequence[1].sub
        for name, weight in trunk.named_parameters():
            weight.normal_(0, 0.1) if name.endswith("weight") else weight.zero_()
        trunk[-1].weight.mul_(_RESIDUAL)
        for module in sequence:
            if isinstance(module, torch.nn.Conv2d):
                _pass_on(module)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    if scale == 4:
        weights = {_renamed(name): tensor for name, tensor in weights.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def _pass_on(convolution: torch.nn.Conv2d) -> None:
    """Let a convolution hand its first three channels on as they are."""
    assert convolution.bias is not None
    convolution.weight.zero_()
    convolution.bias.zero_()
    for channel in range(3):
        convolution.weight[channel, channel, 1, 1] = 1


def _renamed(name: str) -> str:
    """spandrel keeps the names of the first ESRGAN; Real-ESRGAN's files have these."""
    named = {"model.0.": "conv_first.", "model.3.": "conv_up1.", "model.6.": "conv_up2."}
    named |= {"model.8.": "conv_hr.", "model.10.": "conv_last.", "model.1.sub.1.": "conv_body."}
    for old, new in named.items():
        if name.startswith(old):
            return name.replace(old, new)
    inner = name.removeprefix("model.1.sub.").replace("RDB", "rdb")
    return "body." + re.sub(r"\.0\.(weight|bias)$", r".\1", inner)
