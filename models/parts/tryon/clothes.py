"""Who wears what where: people's pictures parsed into clothes and limbs by SegFormer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

from farm.errors import SetupError
from models.parts.holes import grown
from models.parts.memory import module_bytes, released
from models.parts.pictures import Pixels
from models.parts.quiet import quieten
from models.parts.tryon.request import DRESS, LOWER, UPPER, check_region, not_found
from models.parts.tryon.rows import Mask, largest

SIDE_MAX = 1024
"""Labels are drawn at this size at most: 18 classes of a larger picture take gigabytes."""
GROWN = 0.02
"""How far a region reaches beyond the clothes, as a share of the person's height: a garment
of another cut is wider than what is worn."""

_TOPS = ("upper-clothes", "scarf")
_BOTTOMS = ("pants", "skirt", "belt")
_ARMS = ("left-arm", "right-arm")
_LEGS = ("left-leg", "right-leg")
_HEAD = ("face", "hair", "hat", "sunglasses")
_KEPT = (*_HEAD, "left-shoe", "right-shoe", "bag")
_KNOWN = ("background", "dress", *_TOPS, *_BOTTOMS, *_ARMS, *_LEGS, *_KEPT)
_NEEDED = ("upper-clothes", "pants", "dress", "face")

_DRESS_TOP = 0.45
"""Where a dress has its waist, from its upper edge."""
_FACE_SHARE = 0.11
"""A face's height in a person's, where no face is seen."""
_FOOT = 0.4
"""A bare foot's height in faces."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A picture in which each pixel (height x width) has a number, and the parts' numbers."""

    labels: NDArray[np.uint8]
    numbers: Mapping[str, int]

    def where(self, *names: str) -> Mask:
        """The pixels of any of these parts."""
        wanted = [self.numbers[name] for name in names if name in self.numbers]
        return np.isin(self.labels, wanted)

    @property
    def person(self) -> Mask:
        """All that is not background."""
        return self.where(*(name for name in self.numbers if name != "background"))


class ClothesParser:
    """SegFormer (Xie et al., 2021, arXiv:2105.15203) trained on ATR's 18 parts of people, a
    folder in transformers' layout; made for ``mattmdjaga/segformer_b2_clothes``.

    Parts go by the names in the checkpoint's configuration, whatever their numbers. It runs in
    float32: it is small, and runs once a job.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._device = ""
        self._loaded: tuple[Any, Any] | None = None
        self._numbers: dict[str, int] = {}

    @property
    def resident_bytes(self) -> int:
        """Bytes of the model's parameters and buffers; 0 while unloaded."""
        return module_bytes(self._loaded[0]) if self._loaded else 0

    def load(self, device: str) -> None:
        """Bring the weights onto the device; a no-op when loaded.

        Raises:
            SetupError: the checkpoint does not know people's clothes.
        """
        if self._loaded is not None:
            return
        quieten()
        model: Any = SegformerForSemanticSegmentation.from_pretrained(
            self._path, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        named = {str(label).lower(): int(n) for n, label in model.config.id2label.items()}
        if unknown := [name for name in _NEEDED if name not in named]:
            raise SetupError(f"The parser in {self._path} knows no {unknown[0]!r}: not clothes'.")
        self._numbers = {name: n for name, n in named.items() if name in _KNOWN}
        processor = SegformerImageProcessor.from_pretrained(self._path, local_files_only=True)
        self._loaded = (model.to(device).eval(), processor)
        self._device = device

    def parse(self, picture: Pixels) -> Parsed:
        """Find the parts in a picture of height x width x 3."""
        assert self._loaded is not None
        model, processor = self._loaded
        height, width = picture.shape[:2]
        scale = min(1.0, SIDE_MAX / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        inputs = processor(images=Image.fromarray(picture), return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = model(**inputs).logits.float()
            logits = torch.nn.functional.interpolate(logits, size, mode="bilinear")
            labels = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        whole = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        return Parsed(np.asarray(whole, np.uint8), self._numbers)

    def unload(self) -> None:
        """Give the memory back; a no-op when unloaded."""
        self._loaded = None
        released()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a garment is painted, and what must stay as it is: masks of 0 and 255."""

    painted: Pixels
    kept: Pixels


def place(parsed: Parsed, category: str) -> Place:
    """Where a garment of the category is painted, height x width.

    The clothes that it takes the place of, the limbs that it may cover, and a little around
    them; face, hair, hat, bag, hands and feet are kept.

    Raises:
        SegmentationFailed: too little of that is in the picture.
    """
    covered = _covered(parsed, category)
    if not parsed.where(*_HEAD, *_ARMS, *_LEGS).any():
        not_found(category)  # clothes that nobody wears
    check_region(np.where(covered, 255, 0).astype(np.uint8), category)
    rows = np.flatnonzero(parsed.person.any(axis=1))
    high = int(rows[-1] - rows[0] + 1)
    face = _face_height(parsed, high)
    kept = parsed.where(*_KEPT) | _hands(parsed, face) | _bare_feet(parsed, face)
    clothes = np.where(covered & ~kept, 255, 0).astype(np.uint8)
    whole = grown(clothes, max(1, round(GROWN * high)))
    whole[kept] = 0
    return Place(whole, np.where(kept, 255, 0).astype(np.uint8))


def _covered(parsed: Parsed, category: str) -> Mask:
    dress = parsed.where("dress")
    if category == DRESS:
        return dress | parsed.where(*_TOPS, *_BOTTOMS, *_ARMS, *_LEGS)
    rows = np.flatnonzero(dress.any(axis=1))
    waist = int(rows[0] + _DRESS_TOP * len(rows)) if len(rows) else 0
    if category == UPPER:
        upper = parsed.where(*_TOPS)
        upper[:waist] |= dress[:waist]
        return upper | parsed.where(*_ARMS) if upper.any() else upper
    assert category == LOWER
    lower = parsed.where(*_BOTTOMS, *_LEGS)
    lower[waist:] |= dress[waist:]
    return lower


def _face_height(parsed: Parsed, person_height: int) -> float:
    rows = np.flatnonzero(parsed.where("face").any(axis=1))
    usual = _FACE_SHARE * person_height
    # A neck is part of the face; a face that is much smaller is one half hidden.
    return float(np.clip(len(rows) * 0.75, 0.5 * usual, 2.5 * usual)) if len(rows) else usual


def _hands(parsed: Parsed, face: float) -> Mask:
    """The ends of the arms: a hand is as long as a face."""
    found = np.zeros(parsed.labels.shape, bool)
    ys, xs = np.nonzero(parsed.where("face", *_TOPS, "dress"))
    if not len(ys):
        return found
    neck = float(xs[ys <= np.percentile(ys, 20)].mean()), float(np.percentile(ys, 20))
    for name in _ARMS:
        arm_ys, arm_xs = np.nonzero(largest(parsed.where(name)))
        if not len(arm_ys):
            continue
        away = np.hypot(arm_xs - neck[0], arm_ys - neck[1])
        hand = away > away.max() - face
        found[arm_ys[hand], arm_xs[hand]] = True
    return found


def _bare_feet(parsed: Parsed, face: float) -> Mask:
    found = np.zeros(parsed.labels.shape, bool)
    if parsed.where("left-shoe", "right-shoe").any():
        return found
    for name in _LEGS:
        leg = parsed.where(name)
        rows = np.flatnonzero(leg.any(axis=1))
        # A leg that the picture's edge cuts off has no foot, and a knee under a skirt neither.
        if len(rows) > face and rows[-1] < len(leg) - 2:
            first = int(rows[-1] - _FOOT * face)
            found[first:] |= leg[first:]
    return found
