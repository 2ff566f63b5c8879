"""What a step of diffusion works on: latents of one size, and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.tiny.train import latents
from models.tiny.train.latents import Captioned

WORDLESS = 0.1
"""Share of the prompts that are left empty: guidance needs to know pictures without words
(Ho and Salimans, 2022, arXiv:2207.12598)."""
_SMALL_ALONE = 0.5
"""Of the steps, before larger pictures come in."""
_SHARES = (0.52, 0.18, 0.2, 0.1)
"""Small, medium, large, huge, from then on."""
_APART, _THINGS_COUNT = 1.0, 5.0
_GROUPS = (latents.SMALL, latents.MEDIUM, latents.LARGE, latents.HUGE)


@dataclass(frozen=True, slots=True)
class Batch:
    """Latents N x 4 x h x w, the facts of each (:mod:`models.tiny.train.codes`), N prompts, and
    the pictures' width and height in pixels."""

    latents: Tensor
    told: Tensor
    said: list[str]
    size: tuple[int, int]


class Batches:
    """Draws them from what is on disk, with torch's dice.

    ``latents_at_once`` is how many latents of 32 x 32 pixels a batch has, about: a batch of
    large pictures has few.
    """

    def __init__(self, folder: Path, latents_at_once: int) -> None:
        self._folder = folder
        self._at_once = latents_at_once
        self._read: dict[int, list[Captioned]] = {}

    def draw(self, along: float) -> Batch:
        """One; ``along`` is how much of the training is done, from 0 to 1. A tenth has neither
        prompt nor facts."""
        group = 0
        if along >= _SMALL_ALONE:
            group = int(torch.multinomial(torch.tensor(_SHARES), 1))
        bucket = _weighted(self._group(group))
        size = bucket.bucket.width, bucket.bucket.height
        count = max(4, round(self._at_once / (size[0] * size[1] / 1024)))
        found, told, said = bucket.draw(count)
        blank = torch.rand(count) < WORDLESS
        told[blank] = 0
        said = ["" if gone else each for gone, each in zip(blank.tolist(), said, strict=True)]
        return Batch(found, told, said, size)

    def _group(self, number: int) -> list[Captioned]:
        """Read when the first batch of its size is drawn."""
        if number not in self._read:
            self._read[number] = [latents.read(self._folder, each) for each in _GROUPS[number]]
        return self._read[number]


def importance(latents: Tensor) -> Tensor:
    """How much each place counts, N x 1 x h x w with a mean of 1: most where a picture differs
    from what most of it is like. Things cover a tenth of a picture and their outlines less, and
    would be learned last."""
    usual = latents.flatten(2).median(dim=2).values[..., None, None]
    apart = (latents - usual).abs().sum(1, keepdim=True).clamp(max=_APART)
    weights = 1 + _THINGS_COUNT / _APART * apart
    return weights / weights.mean((1, 2, 3), keepdim=True)


def _weighted(buckets: Sequence[Captioned]) -> Captioned:
    weights = torch.tensor([float(each.bucket.scenes) for each in buckets])
    return buckets[int(torch.multinomial(weights, 1))]
