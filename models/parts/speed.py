"""What makes a diffusers pipeline quick on a GPU: a memory layout, and compiled blocks.

A card's options switch it: ``compile`` is ``regional`` or ``off``, ``fuse_qkv`` is ``on`` or
``off``. Attention needs no switch: diffusers uses torch's own fused kernels.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import torch

from farm.errors import SetupError
from models.base import Interrupts, is_out_of_memory

WARM_SIDE = 1024
"""Pixels of a side of the pictures that a pipeline is warmed up with: what the catalogue's
models were trained on, and what a customer gets who names no size."""
WARM_STEPS = 2
"""The second step's tensors may lie in memory in another order than the first's."""

_CHOICES = {"compile": ("regional", "off"), "fuse_qkv": ("off", "on")}
_CHAIN_MAX = 32

INDUCTOR = "inductor"
"""torch's own compiler; it writes kernels in Triton, or in C++ for a CPU."""

Run = Callable[[], object]
Backend = str | Callable[..., Any]
Stance = Callable[[], AbstractContextManager[None]]
"""What a job is run inside, so that it finds the compiled blocks, or does without."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Which of the ways to more speed are taken.

    ``compile_blocks``: compile the blocks that the denoising network repeats (regional
    compilation: seconds instead of minutes). ``fuse_qkv``: ask for query, key and value in
    one multiplication; diffusers then keeps both forms of their weights, 1.2 GiB more for
    SDXL and 4 GiB for FLUX, so it is off until a measurement says that it is worth that.
    """

    compile_blocks: bool = True
    fuse_qkv: bool = False

    @classmethod
    def read(cls, options: Mapping[str, str]) -> Self:
        """Read a card's options; what is left out is the default.

        Raises:
            SetupError: a value is none of those known.
        """
        for name, choices in _CHOICES.items():
            if options.get(name, choices[0]) not in choices:
                raise SetupError(
                    f"The option {name} is {options[name]!r}; it can be {' or '.join(choices)}."
                )
        return cls(options.get("compile") != "off", options.get("fuse_qkv") == "on")


def as_it_is() -> AbstractContextManager[None]:
    """The :data:`Stance` of a pipeline in which nothing is compiled."""
    return contextlib.nullcontext()


def lay_out(pipeline: Any, tuning: Tuning) -> None:
    """Put the weights into the order that a GPU works fastest in."""
    # Tensor cores read convolutions channel by channel; in any other order cuDNN copies the
    # picture before and after each. A transformer has none, and its weights stay as they are.
    for part in (network(pipeline), pipeline.vae):
        part.to(memory_format=torch.channels_last)
    if tuning.fuse_qkv:
        network(pipeline).fuse_qkv_projections()


def compile_and_warm_up(
    pipeline: Any, warm_up: Run, interrupts: Interrupts, backend: Backend = INDUCTOR
) -> Stance:
    """Compile the denoising network's repeated blocks for the sizes that ``warm_up`` runs.

    Compilation happens only here. A job of another size, or without guidance, runs the same
    blocks uncompiled: to compile for its size would take longer than to do the job, and
    customers' sizes are endless. What cannot be compiled at all (no C compiler, an old GPU)
    is logged, and the pipeline runs uncompiled; ``warm_up`` is then run once more.

    Returns what to run every job inside.

    Raises:
        Exception: whatever ``warm_up`` raises uncompiled, and any of ``interrupts``.
    """
    network(pipeline).compile_repeated_blocks(backend=backend, fullgraph=True, dynamic=False)
    try:
        warm_up()
    except Exception as error:
        stop = _behind(error, interrupts)
        if stop is not None:
            raise stop from None
        if is_out_of_memory(error):
            raise
        _log.warning("cannot compile the model, it runs uncompiled", exc_info=error)
        stance = _stance("force_eager")
        with stance():
            warm_up()
        return stance
    return _stance("eager_on_recompile")


def network(pipeline: Any) -> Any:
    """The network that runs at every step: a UNet, or a transformer."""
    return pipeline.components.get("unet") or pipeline.components["transformer"]


def _stance(name: str) -> Stance:
    def inside() -> AbstractContextManager[None]:
        # Imports the compiler, which takes seconds: not before something was compiled.
        stance: AbstractContextManager[None] = torch.compiler.set_stance(name)
        return stance

    return inside


def _behind(error: BaseException, kinds: Interrupts) -> Exception | None:
    """The exception of one of these kinds that an error is or came from, if there is one.

    The compiler wraps whatever it is interrupted by into an error of its own.
    """
    link: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if link is None:
            return None
        if isinstance(link, kinds):
            return link
        link = link.__cause__ or link.__context__
    return None
