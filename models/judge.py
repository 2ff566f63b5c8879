"""The result policy's eyes: an image classifier that says which results are not handed out."""

from __future__ import annotations

import gc
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from farm.errors import EngineFault, OutOfMemory, SetupError
from farm.types import Artifact
from models import weights
from models.base import HUB, HubSource, Interrupts, faults

NAME = "result-moderation"
SEEN_SIDE_MAX = 1024
"""Pixels. Pictures of twice that and more are scaled down first: classifiers look at 224 to
512 of them."""

_KINDS: dict[str, type[ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/webp": WebPImageFile,
}
_STRIP_ROWS = 16
_PAPER = (255, 255, 255)
"""What transparent parts are laid on, as most viewers do; hidden colours do not count."""


class PictureJudge:
    """A :class:`models.base.Judge` around any of transformers' image classification classes.

    Args:
        where: ``hub``, or the folder of a checkpoint.
        refused: labels, in any letter case, each with the probability from which a result is
            refused.
        source: the repository that ``hub`` means; None where the catalogue names none.
        interrupts: exceptions of the caller's that pass through unchanged.
    """

    def __init__(
        self,
        where: str,
        refused: Mapping[str, float],
        source: HubSource | None,
        interrupts: Interrupts = (),
    ) -> None:
        self._where = where
        self._refused = refused
        self._source = source
        self._interrupts = interrupts
        self._device = ""
        self._processor: Any = None
        self._model: Any = None
        self._limits: dict[int, float] = {}

    def load(self, device: str) -> None:
        """See :meth:`models.base.Judge.load`. Single precision on every device: a decision
        must not depend on rounding."""
        if self._model is not None:
            return
        path = check(self._where, self._refused, self._source)
        try:
            with faults(NAME, "loading", self._interrupts):
                self._open(path, device)
        except OutOfMemory:
            raise
        except EngineFault as error:
            raise SetupError(
                f"The classifier in {path} that FARM_RESULT_MODERATION names cannot be loaded "
                f"({error}). Until it can, no result is handed out."
            ) from error

    def refusal(self, artifact: Artifact) -> str | None:
        """See :meth:`models.base.Judge.refusal`."""
        if not artifact.media_type.startswith("image/"):
            return None
        if self._model is None:
            raise EngineFault("The result's judge was asked before it was loaded.")
        with faults(NAME, "looking at a result", self._interrupts):
            found = self._probabilities(_seen(artifact))
        if not all(map(math.isfinite, found)):
            # No comparison with these holds, and the result would pass.
            raise EngineFault("The result's judge came to no probabilities.")
        labels = self._model.config.id2label
        over = {found[i] - limit: labels[i] for i, limit in self._limits.items()}
        return str(over[max(over)]) if max(over) >= 0 else None

    def unload(self) -> None:
        """See :meth:`models.base.Judge.unload`."""
        self._model = self._processor = None
        gc.collect()

    def _open(self, path: Path, device: str) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        from models.parts.quiet import quieten

        quieten()
        local = {"local_files_only": True, "trust_remote_code": False}
        self._processor = AutoImageProcessor.from_pretrained(path, **local)
        model, report = AutoModelForImageClassification.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **local
        )
        if report["missing_keys"]:
            # The library fills them with random numbers, and would judge by them.
            raise EngineFault(f"it has no {', '.join(sorted(report['missing_keys']))}")
        numbers = {label.casefold(): i for i, label in model.config.id2label.items()}
        self._limits = {numbers[k.casefold()]: limit for k, limit in self._refused.items()}
        self._device = device
        self._model = model.to(device).eval()

    def _probabilities(self, image: Image.Image) -> list[float]:
        import torch

        inputs = self._processor(images=image, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = self._model(**inputs).logits[0].float()
        # Labels that do not exclude each other have a probability each.
        several = self._model.config.problem_type == "multi_label_classification"
        found = logits.sigmoid() if several else logits.softmax(dim=-1)
        return [float(value) for value in found.cpu()]


def check(where: str, refused: Mapping[str, float], source: HubSource | None) -> Path:
    """The classifier's folder, once its files are there and it knows every refused label.

    Raises:
        WeightsMissing: it is not there, or not whole.
        SetupError: a refused label is none of its labels; the message names them.
    """
    if where == HUB and source is None:
        raise SetupError(
            "FARM_RESULT_MODERATION is hub, but the catalogue has no [result_moderation]. "
            "Name a classifier there, or set FARM_RESULT_MODERATION to a folder."
        )
    path = weights.checkpoint(NAME, where, source)
    labels = weights.labels(path)
    known = {label.casefold() for label in labels}
    strangers = [label for label in refused if label.casefold() not in known]
    if strangers:
        raise SetupError(
            f"FARM_RESULT_MODERATION_REFUSE names {', '.join(strangers)}, but the classifier in "
            f"{path} only knows {', '.join(labels)}."
        )
    return path


def _seen(artifact: Artifact) -> Image.Image:
    """What a person would see of a picture, RGB, scaled down where it is large."""
    # Not Image.open: it refuses pictures as large as an upscaled one.
    kind = _KINDS.get(artifact.media_type)
    if kind is None:
        raise EngineFault(f"The result's judge cannot open {artifact.media_type}.")
    with kind(io.BytesIO(artifact.data)) as image:
        # A JPEG comes scaled down out of its own file; other files do not know how.
        image.draft("RGB", _small_size(image))
        small = _scaled_down(image)
        if not image.has_transparency_data:
            return small.convert("RGB")
        clear = small.convert("RGBA")
        paper = Image.new("RGBA", clear.size, (*_PAPER, 255))
        return Image.alpha_composite(paper, clear).convert("RGB")


def _small_size(image: Image.Image) -> tuple[int, int]:
    factor = max(1, max(image.size) // SEEN_SIDE_MAX)
    return -(-image.width // factor), -(-image.height // factor)


def _scaled_down(image: Image.Image) -> Image.Image:
    """A picture whose longer side is below twice SEEN_SIDE_MAX. In strips: Pillow scales a
    copy of what has an alpha channel, and of an upscaled picture that is a gibibyte."""
    factor = max(image.size) // SEEN_SIDE_MAX
    if factor < 2 or image.mode == "P":
        return image
    small = Image.new(image.mode, (-(-image.width // factor), -(-image.height // factor)))
    rows = factor * _STRIP_ROWS
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(strip.reduce(factor), (0, top // factor))
    return small
