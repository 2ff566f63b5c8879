"""From words to a mask by CLIPSeg: one small network, coarser than GroundingDINO and SAM 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

from models.parts.matting import OnStage
from models.parts.memory import module_bytes, released
from models.parts.pictures import Pixels
from models.parts.quiet import quieten
from models.parts.words import not_found

SHARE_MIN = 0.4
"""From which probability on a pixel belongs to what the prompt says."""

_ADVICE = "Describe it by what it is and its colour, or send a mask."


class ClipSeg:
    """CLIPSeg (Lüddecke and Ecker, 2022, arXiv:2112.10003), a folder in transformers' layout.

    It sees the picture at 352 x 352 pixels, so that its edges are soft and thin things are
    lost. ``share_min`` is from which probability on a pixel counts.
    """

    name = "clipseg"
    stages = 1

    def __init__(self, path: Path, share_min: float = SHARE_MIN) -> None:
        self._path = path
        self._share_min = share_min
        self._device = ""
        self._loaded: tuple[Any, Any] | None = None

    @property
    def resident_bytes(self) -> int:
        """Bytes of the model's parameters and buffers; 0 while unloaded."""
        return module_bytes(self._loaded[0]) if self._loaded else 0

    def load(self, device: str) -> None:
        """See :meth:`models.parts.words.Finder.load`."""
        if self._loaded is not None:
            return
        quieten()
        model: Any = CLIPSegForImageSegmentation.from_pretrained(
            self._path, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        processor = CLIPSegProcessor.from_pretrained(self._path, local_files_only=True)
        self._loaded = (model.to(device).eval(), processor)
        self._device = device

    def mask(self, image: Image.Image, prompt: str, on_stage: OnStage) -> Pixels:
        """See :meth:`models.parts.words.Finder.mask`."""
        assert self._loaded is not None
        model, processor = self._loaded
        inputs = processor(
            text=[prompt.strip()], images=[image], truncation=True, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            shares = torch.sigmoid(model(**inputs).logits).reshape(inputs["pixel_values"].shape[2:])
        whole = cv2.resize(shares.cpu().numpy(), image.size, interpolation=cv2.INTER_LINEAR)
        on_stage()
        mask = np.where(whole >= self._share_min, 255, 0).astype(np.uint8)
        if not mask.any():
            not_found(prompt, _ADVICE)
        return mask

    def unload(self) -> None:
        """See :meth:`models.parts.words.Finder.unload`."""
        self._loaded = None
        released()
