"""A LaMa with random weights, of the only size that its class has."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from spandrel.architectures.LaMa import LaMa


def write(path: Path) -> None:
    """Write the safetensors file, in half precision, which halves it.

    The last layer is scaled so that what it makes of noise is neither grey nor clipped.
    """
    torch.manual_seed(4)
    network = LaMa(in_nc=4, out_nc=3).eval()
    last = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)][-1]
    spread: list[float] = []
    hook = last.register_forward_hook(lambda _, __, made: spread.append(float(made.std())))
    with torch.inference_mode():
        network(torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))
    hook.remove()
    with torch.no_grad():
        last.weight.mul_(1.5 / spread[0])
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
