"""Networks of picture-to-picture models, recognised and built by spandrel from their files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spandrel import MAIN_REGISTRY, ArchRegistry, ModelLoader, UnsupportedModelError

from farm.errors import EngineFault
from models.base import CPU
from models.parts.memory import module_bytes
from models.parts.pictures import Pixels


class Net:
    """One network on its device, whose weights do not change any more.

    ``descriptor`` is spandrel's: what the file was recognised as, and the network itself.
    """

    def __init__(self, descriptor: Any, device: str) -> None:
        half = device != CPU and descriptor.supports_half
        self.dtype = torch.float16 if half else torch.float32
        self.device = device
        self.descriptor = descriptor.to(device=device, dtype=self.dtype).eval()
        self.descriptor.model.requires_grad_(False)

    @property
    def resident_bytes(self) -> int:
        """Bytes of every parameter and buffer."""
        return module_bytes(self.descriptor.model)

    def tensor(self, pixels: Pixels) -> torch.Tensor:
        """Height x width (x channels) from 0 to 255 as 1 x channels x height x width from 0
        to 1, on the network's device."""
        planes = pixels[..., None] if pixels.ndim == 2 else pixels
        # A copy: pictures are often read-only views, which torch would warn of.
        raw = torch.from_numpy(np.array(planes)).to(self.device)
        return raw.permute(2, 0, 1)[None].to(self.dtype) / 255

    def pixels(self, tensor: torch.Tensor) -> Pixels:
        """The reverse: height x width x channels."""
        whole = (tensor[0].float().clamp(0, 1) * 255).round().to(torch.uint8)
        out: NDArray[np.uint8] = whole.permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(out)


def open_net(path: Path, device: str, *, purpose: str, extra: bool = False) -> Net:
    """Load a safetensors file onto a device: half precision on a GPU where the architecture
    bears it, else float32.

    ``purpose`` is what spandrel must say that the model is for (``SR``, ``FaceSR``,
    ``Inpainting``); with ``extra`` the architectures of spandrel_extra_arches count too.

    Raises:
        EngineFault: the file holds something else.
    """
    loader = ModelLoader("cpu", _with_extra_architectures() if extra else MAIN_REGISTRY)
    try:
        descriptor: Any = loader.load_from_file(path)
    except UnsupportedModelError as error:
        raise EngineFault(
            f"{path} holds no network that spandrel recognises. Put the right file there."
        ) from error
    if descriptor.purpose != purpose:
        raise EngineFault(
            f"{path} holds a {descriptor.architecture.name} network, which is for "
            f"{descriptor.purpose} and not for {purpose}. Put the right file there."
        )
    return Net(descriptor, device)


def _with_extra_architectures() -> ArchRegistry:
    """Both libraries' architectures; the main registry itself stays as it is."""
    with warnings.catch_warnings():
        # Importing it compiles CodeFormer's activation with torch.jit.script, which torch
        # 2.11 calls deprecated; it works.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        from spandrel_extra_arches import EXTRA_REGISTRY
    registry = MAIN_REGISTRY.copy()
    registry.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    return registry
