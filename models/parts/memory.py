"""What networks take of a device's memory, and giving it back."""

from __future__ import annotations

import gc

import torch


def module_bytes(module: torch.nn.Module) -> int:
    """Bytes of every parameter and buffer of a network."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def released() -> None:
    """Return to the device what nothing points to any more."""
    gc.collect()  # networks are full of reference cycles
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
