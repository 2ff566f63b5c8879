"""Object removal by LaMa (Suvorov et al., 2022, arXiv:2109.07161)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from PIL import Image

from farm.errors import SetupError
from farm.types import RunRequest
from models import weights
from models.parts.clipseg import ClipSeg
from models.parts.grounded_sam2 import GroundedSam2
from models.parts.hidden import bled
from models.parts.holes import blend_margin, grown, pasted
from models.parts.memory import released
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, flattened, joined
from models.parts.removal import Area, Removal, areas_of, read_removal
from models.parts.spandrel_net import Net, open_net
from models.parts.words import Finder

INPAINTER, DETECTOR, SEGMENTER, CLIPSEG = "inpainter", "detector", "segmenter", "clipseg"
SIDE_MAX = 1024
"""A part of the picture that is longer is scaled down for the network, which was trained on
256 pixels and knows no structures much larger than this."""
CONTEXT_MIN = 128


class LamaEngine(PictureEngine[Removal]):
    """What the mask covers, or what the words mean, is filled from what surrounds it.

    Each separate part of the mask is filled by itself, with context around it. Pixels outside
    the mask, grown by the blend margin, stay as they are. An alpha channel is filled the same
    way as the colours, so that a hole in front of nothing is nothing.

    The card's option ``finder`` says what turns words into a mask: ``grounded-sam2`` or the
    smaller ``clipseg``. What words find is grown by the blend margin, since it ends at the
    thing's very edge.
    """

    operation = "remove-object"
    parameters = ("prompt",)

    _net: Net | None = None
    _finder: Finder | None = None

    def _read(self, request: RunRequest) -> Removal:
        return read_removal(request)

    def _steps(self, work: Removal) -> int:
        finding = self._finder.stages if self._finder and work.prompt is not None else 0
        return finding + 1

    def _edit(self, work: Removal, stages: Stages) -> Edited:
        margin = blend_margin(work.colours.shape[1], work.colours.shape[0])
        mask = work.mask
        if mask is None:
            mask = grown(self._found(work, stages), margin)
        areas = areas_of(mask, margin, CONTEXT_MIN)
        stages.total += len(areas) - 1
        colours, alpha = work.colours.copy(), None if work.alpha is None else work.alpha.copy()
        todo = mask.copy()
        for area in areas:
            self._fill(area, colours, alpha, todo, margin)
            todo[area.rows, area.columns][area.mask > 0] = 0
            stages.done()
        return Edited(Rows.of(joined(colours, alpha)))

    def _found(self, work: Removal, stages: Stages) -> Pixels:
        assert self._finder is not None
        assert work.prompt is not None
        image = Image.fromarray(flattened(work.colours, work.alpha))
        return self._finder.mask(image, work.prompt, stages.done)

    def _fill(
        self, area: Area, colours: Pixels, alpha: Pixels | None, todo: Pixels, margin: int
    ) -> None:
        """Fill one part of the mask, in place. What other parts still cover is no context."""
        here = area.rows, area.columns
        hole = grown(todo[here], margin)
        seen = alpha[here] if alpha is not None else None
        filling = self._filling(bled(colours[here], seen), hole)
        if seen is not None and alpha is not None and seen.min() < 255:
            grey = np.repeat(seen[..., None], 3, axis=2)
            made = self._filling(grey, hole).mean(axis=2, keepdims=True)
            whole = pasted(seen[..., None], np.rint(made).astype(np.uint8), area.mask, margin)
            alpha[here] = whole[..., 0]
        colours[here] = pasted(colours[here], filling, area.mask, margin)

    def _filling(self, picture: Pixels, hole: Pixels) -> Pixels:
        """The picture, height x width x 3, with the hole filled."""
        assert self._net is not None
        height, width = hole.shape
        scale = min(1.0, SIDE_MAX / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
            # A pixel that the hole touches at all mixes in what is to disappear.
            hole = np.asarray(cv2.resize(hole, size, interpolation=cv2.INTER_AREA), np.uint8)
        missing = np.where(hole > 0, 255, 0).astype(np.uint8)
        with torch.inference_mode():
            made = self._net.descriptor(self._net.tensor(picture), self._net.tensor(missing))
        filled = self._net.pixels(made)
        if scale < 1:
            whole = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
            filled = np.asarray(whole, np.uint8)
        return filled

    def _open(self, device: str) -> None:
        self._net = open_net(
            weights.locate(self._setup, INPAINTER).path, device, purpose="Inpainting"
        )
        self._finder = self._finder_of_the_card()
        self._finder.load(device)

    def _finder_of_the_card(self) -> Finder:
        name = self._setup.options.get("finder")
        if name == ClipSeg.name:
            return ClipSeg(weights.locate(self._setup, CLIPSEG).path)
        if name == GroundedSam2.name:
            return GroundedSam2(
                weights.locate(self._setup, DETECTOR).path,
                weights.locate(self._setup, SEGMENTER).path,
            )
        raise SetupError(
            f"The card of {self._setup.model_id} asks for the finder {name!r}. "
            f"Known: {GroundedSam2.name}, {ClipSeg.name}."
        )

    def _close(self) -> None:
        if self._finder is not None:
            self._finder.unload()
        self._net, self._finder = None, None
        released()

    def _resident(self) -> int:
        parts = [part for part in (self._net, self._finder) if part is not None]
        return sum(part.resident_bytes for part in parts)
