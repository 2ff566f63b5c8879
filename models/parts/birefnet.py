"""The opacity of what a picture is about, by BiRefNet through rembg and onnxruntime."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.base import CPU
from models.parts.matting import OnStage
from models.parts.pictures import Pixels

SIDE = 1024
"""The network sees the picture as a square of this many pixels."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_log = logging.getLogger(__name__)


class BirefnetMatter:
    """Bilateral Reference Network (Zheng et al., 2024, arXiv:2401.03407).

    ``path`` is an ONNX file as rembg publishes them: 1x3x1024x1024 in, logits 1x1x1024x1024
    out. Nothing is fetched and nothing is written. On a GPU it runs there if this
    onnxruntime can, and else on the CPU.

    rembg's own session stretches what it found to the full range, which makes something out
    of nothing in an empty picture; here the network's probabilities are kept, as its authors
    keep them.
    """

    name = "birefnet"
    stages = 2

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session: Any = None
        self._resident_bytes = 0

    @property
    def resident_bytes(self) -> int:
        """Bytes of the weights, if they lie on the device."""
        return self._resident_bytes

    def load(self, device: str) -> None:
        """See :meth:`models.parts.matting.Matter.load`."""
        if self._session is not None:
            return
        wanted = _providers(device)
        self._session = _open(self._path, wanted)
        used = self._session.inner_session.get_providers()
        on_device = device == CPU or "CUDAExecutionProvider" in used
        if not on_device:
            _log.warning(
                "BiRefNet runs on the CPU: this onnxruntime has no CUDA that works. "
                "Install onnxruntime-gpu in place of onnxruntime to have it on the GPU."
            )
        # An ONNX file is its tensors and a few kilobytes of graph.
        self._resident_bytes = self._path.stat().st_size if on_device else 0

    def alpha(self, image: Image.Image, on_stage: OnStage) -> Pixels:
        """See :meth:`models.parts.matting.Matter.alpha`."""
        on_stage()
        inputs = self._session.normalize(image, _MEAN, _STD, (SIDE, SIDE))
        [logits, *_] = self._session.inner_session.run(None, inputs)
        on_stage()
        # A logit below -88 overflows on its way to the zero that it means.
        with np.errstate(over="ignore"):
            share = self._session.sigmoid(logits[0, 0])
        mask = Image.fromarray(np.rint(255 * share).astype(np.uint8))
        return np.asarray(mask.resize(image.size, Image.Resampling.BICUBIC))

    def unload(self) -> None:
        """See :meth:`models.parts.matting.Matter.unload`."""
        self._session = None
        self._resident_bytes = 0
        gc.collect()


def _providers(device: str) -> list[Any]:
    import onnxruntime

    if device == CPU or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    index = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _open(path: Path, providers: list[Any]) -> Any:
    """rembg's session on a file of ours; its classes know only how to download one."""
    with _uncompiled():
        from rembg.sessions.birefnet_general import BiRefNetSessionGeneral
    import onnxruntime

    class Session(BiRefNetSessionGeneral):  # type: ignore[misc]
        @classmethod
        def download_models(cls, *args: Any, **kwargs: Any) -> str:
            return str(path)

        def _warn_on_provider_fallback(self, requested: Any) -> None:
            """Said by :meth:`BirefnetMatter.load`, with what to do."""

    return Session("birefnet", onnxruntime.SessionOptions(), providers=providers)


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Keep numba from compiling pymatting, which rembg imports and nothing here calls.

    Measured: 44 s and a cache beside the package or in the home folder the first time that a
    machine imports it; this way 1 s and nothing.
    """
    try:
        from numba import config
    except ModuleNotFoundError:  # then there is nothing that compiles
        yield
        return
    settings: Any = config
    before = settings.DISABLE_JIT
    settings.DISABLE_JIT = True
    try:
        yield
    finally:
        settings.DISABLE_JIT = before
