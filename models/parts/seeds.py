"""Randomness that reproduces."""

from __future__ import annotations

import torch


def generator(seed: int) -> torch.Generator:
    """A generator for one run, 0 <= seed < 2**64.

    It lives on the CPU whatever the device: the noise is drawn there and copied, so that a
    seed means the same start on every kind of GPU.
    """
    return torch.Generator("cpu").manual_seed(seed)
