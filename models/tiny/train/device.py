"""Where training runs, and in which precision."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.tiny.scenes.draw import Pixels


@dataclass(frozen=True, slots=True)
class Device:
    """A device by torch's name, ``cpu`` or ``cuda``."""

    name: str

    @contextmanager
    def half(self) -> Iterator[None]:
        """What is inside multiplies in bfloat16, which is twice as quick on either.

        Attention is left to plain multiplications: for so few tokens the CPU's flash attention
        takes several times as long to go backwards.
        """
        with (
            warnings.catch_warnings(),
            torch.autocast(self.name, dtype=torch.bfloat16),
            sdpa_kernel(SDPBackend.MATH),
        ):
            # Norms keep their weights in single precision, which is as it should be.
            warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")
            yield

    def pictures(self, pictures: Sequence[Pixels]) -> Tensor:
        """N x 3 x height x width, from 0 to 1."""
        stacked = torch.from_numpy(np.stack(pictures)).to(self.name)
        colours = stacked.permute(0, 3, 1, 2).float() / 255
        return colours.contiguous(memory_format=torch.channels_last)

    def place(self, module: nn.Module) -> None:
        """Bring a module here, its weights laid out for convolutions."""
        module.to(self.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
