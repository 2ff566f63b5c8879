"""From words to a mask: GroundingDINO finds the boxes, SAM 2 what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Sam2Model,
    Sam2Processor,
)

from models.parts.matting import OnStage
from models.parts.memory import module_bytes, released
from models.parts.pictures import Pixels
from models.parts.quiet import quieten
from models.parts.words import not_found

BOX_MIN = 0.3
"""How sure the detector must be, from 0 to 1; its authors' demonstrations use 0.25 to 0.4."""
THINGS_MAX = 8
"""Things that one prompt removes at most, the surest first."""
BOX_MARGIN = 0.05
"""How far a mask may reach out of its box, as a share of the box's sides."""

_TOKENS_MAX = 256
_ADVICE = "Describe it by what it is and its colour, or send a mask."


class GroundedSam2:
    """GroundingDINO (Liu et al., 2023, arXiv:2303.05499) and SAM 2 (Ravi et al., 2024,
    arXiv:2408.00714), each a folder in transformers' layout.

    Both run in float32: half precision breaks the detector's deformable attention, and the
    two take a second together. ``box_min`` is how sure the detector must be.
    """

    name = "grounded-sam2"
    stages = 2

    def __init__(self, detector: Path, segmenter: Path, box_min: float = BOX_MIN) -> None:
        self._paths = detector, segmenter
        self._box_min = box_min
        self._device = ""
        self._detector: tuple[Any, Any] | None = None
        self._segmenter: tuple[Any, Any] | None = None

    @property
    def resident_bytes(self) -> int:
        """Bytes of both models' parameters and buffers; 0 while unloaded."""
        loaded = [pair for pair in (self._detector, self._segmenter) if pair]
        return sum(module_bytes(model) for model, _ in loaded)

    def load(self, device: str) -> None:
        """See :meth:`models.parts.words.Finder.load`."""
        if self._segmenter is not None:
            return
        quieten()
        local = {"local_files_only": True}
        exact = {"use_safetensors": True, "dtype": torch.float32, **local}
        detector, segmenter = self._paths
        self._detector = (
            GroundingDinoForObjectDetection.from_pretrained(detector, **exact).to(device).eval(),
            GroundingDinoProcessor.from_pretrained(detector, **local),
        )
        self._segmenter = (
            Sam2Model.from_pretrained(segmenter, **exact).to(device).eval(),
            Sam2Processor.from_pretrained(segmenter, **local),
        )
        self._device = device

    def mask(self, image: Image.Image, prompt: str, on_stage: OnStage) -> Pixels:
        """See :meth:`models.parts.words.Finder.mask`. Every thing that the prompt fits is in
        it, up to ``THINGS_MAX``."""
        with torch.inference_mode():
            boxes = self._boxes(image, prompt)
            on_stage()
            if not boxes:
                not_found(prompt, _ADVICE)
            mask = self._inside(image, boxes)
            on_stage()
        if not mask.any():
            not_found(prompt, _ADVICE)
        return np.where(mask, 255, 0).astype(np.uint8)

    def unload(self) -> None:
        """See :meth:`models.parts.words.Finder.unload`."""
        self._detector = self._segmenter = None
        released()

    def _boxes(self, image: Image.Image, prompt: str) -> list[list[float]]:
        """Left, top, right and bottom of what the prompt fits, the surest first."""
        assert self._detector is not None
        model, processor = self._detector
        # The detector was trained on phrases in small letters that end with a full stop.
        phrase = prompt.strip().lower().rstrip(".") + "."
        inputs = processor(
            images=image, text=phrase, truncation=True, max_length=_TOKENS_MAX, return_tensors="pt"
        ).to(self._device)
        [found] = processor.post_process_grounded_object_detection(
            model(**inputs),
            inputs["input_ids"],
            threshold=self._box_min,
            target_sizes=[(image.height, image.width)],
        )
        best = torch.argsort(found["scores"], descending=True, stable=True)[:THINGS_MAX]
        boxes: list[list[float]] = found["boxes"][best].cpu().tolist()
        return boxes

    def _inside(self, image: Image.Image, boxes: list[list[float]]) -> NDArray[np.bool_]:
        """Height x width: what the boxes are about."""
        assert self._segmenter is not None
        model, processor = self._segmenter
        inputs = processor(images=image, input_boxes=[boxes], return_tensors="pt")
        made = model(**inputs.to(self._device), multimask_output=False).pred_masks.cpu()
        mask = np.zeros((image.height, image.width), bool)
        for index, box in enumerate(boxes):  # one at a time: each is as large as the picture
            one = processor.post_process_masks(
                made[:, index : index + 1], [(image.height, image.width)]
            )[0][0, 0].numpy()
            rows, columns = _reach(box, image.size)
            mask[rows, columns] |= one[rows, columns]
        return mask


def _reach(box: list[float], size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of a picture that the thing in a box may take."""
    left, top, right, bottom = box
    across, along = BOX_MARGIN * (right - left), BOX_MARGIN * (bottom - top)
    return (
        slice(max(0, int(top - along)), min(size[1], int(bottom + along) + 1)),
        slice(max(0, int(left - across)), min(size[0], int(right + across) + 1)),
    )
