"""One stage of training: a loop that saves itself, and goes on from there."""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

_SAVE_EVERY_S = 60.0
_TOLD_EVERY = 50
_WARM_UP = 100
_LAST_RATE = 0.02
_NORM_MAX = 1.0

Loss = Callable[[int], Tensor]
"""From the number of a step to what is to become small. It draws whatever is random from that
number, so that a run that was interrupted ends like one that was not."""


@dataclass(slots=True)
class Stage:
    """What one stage trains: ``modules`` by name, each step's loss, and how hard."""

    name: str
    steps: int
    rate: float
    modules: Mapping[str, nn.Module]
    loss: Loss
    average: float = 0.999
    """Decay of the exponential average that the stage ends with."""


@dataclass(slots=True)
class Progress:
    """Where a stage is, and what it has cost."""

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    _since: float = field(default_factory=time.monotonic)

    def tick(self, loss: float, average: float = 0.98) -> None:
        """A step is done."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        self.step += 1
        self.loss = loss if math.isnan(self.loss) else average * self.loss + (1 - average) * loss


def run(stage: Stage, folder: Path, tell: Callable[[str], None] = print) -> Progress:
    """Train until the stage's last step, from where its file in ``folder`` says it was.

    The modules end with the averaged weights, ready to be used.

    Raises:
        FloatingPointError: the loss is not a number any more.
    """
    file = folder / f"{stage.name}.pt"
    modules = nn.ModuleDict(dict(stage.modules))
    averaged = {name: value.clone() for name, value in modules.state_dict().items()}
    optimizer = torch.optim.AdamW(
        modules.parameters(), lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    progress = Progress()
    if file.exists():
        progress = _restore(file, modules, averaged, optimizer)
        tell(f"{stage.name}: going on from step {progress.step} of {stage.steps}")
    modules.train()
    saved = time.monotonic()
    while progress.step < stage.steps:
        progress.tick(_step(stage, progress.step, modules, optimizer))
        _follow(averaged, modules, min(stage.average, (1 + progress.step) / (10 + progress.step)))
        if progress.step % _TOLD_EVERY == 0:
            tell(_line(stage, progress))
        if time.monotonic() - saved > _SAVE_EVERY_S or progress.step == stage.steps:
            _save(file, progress, modules, averaged, optimizer)
            saved = time.monotonic()
    modules.load_state_dict(averaged)
    modules.eval().requires_grad_(False)
    return progress


def _step(stage: Stage, step: int, modules: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    for group in optimizer.param_groups:
        group["lr"] = stage.rate * _share(step, stage.steps)
    optimizer.zero_grad(set_to_none=True)
    torch.manual_seed((zlib.crc32(stage.name.encode()) << 32) + step)
    loss = stage.loss(step)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"{stage.name}: the loss of step {step} is {loss.item()}.")
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(modules.parameters(), _NORM_MAX)
    optimizer.step()
    return float(loss.detach())


def _share(step: int, steps: int) -> float:
    """Of the full rate: up within the first steps, then down along a cosine."""
    along = min(1.0, step / max(1, steps))
    down = _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * along)) / 2
    return min(1.0, (step + 1) / _WARM_UP) * down


def _follow(averaged: dict[str, Tensor], modules: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for name, value in modules.state_dict().items():
            if value.is_floating_point():
                averaged[name].lerp_(value, 1 - decay)
            else:
                averaged[name].copy_(value)


def _save(
    file: Path,
    progress: Progress,
    modules: nn.Module,
    averaged: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Aside first: whoever is stopped while writing has the file of a minute before."""
    draft = file.with_suffix(".draft")
    torch.save(
        {
            "progress": [progress.step, progress.seconds, progress.loss],
            "modules": modules.state_dict(),
            "averaged": averaged,
            "optimizer": optimizer.state_dict(),
        },
        draft,
    )
    os.replace(draft, file)


def _restore(
    file: Path,
    modules: nn.Module,
    averaged: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> Progress:
    found = torch.load(file, weights_only=True)
    modules.load_state_dict(found["modules"])
    averaged.update(found["averaged"])
    optimizer.load_state_dict(found["optimizer"])
    step, seconds, loss = found["progress"]
    return Progress(int(step), float(seconds), float(loss))


def _line(stage: Stage, progress: Progress) -> str:
    left = progress.seconds / progress.step * (stage.steps - progress.step)
    return (
        f"{stage.name}: step {progress.step} of {stage.steps}, loss {progress.loss:.4f}, "
        f"{progress.seconds / progress.step:.2f} s a step, {left / 60:.0f} min left"
    )
