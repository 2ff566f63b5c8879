"""Virtual try-on without a network: the CPU twin of CatVTON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from PIL import Image

from farm.types import RunRequest
from models.base import EngineSetup
from models.parts.grabcut import GrabcutMatter
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, joined
from models.parts.tryon.body import check_lower, find_body
from models.parts.tryon.fit import fitted
from models.parts.tryon.garment import read_garment
from models.parts.tryon.request import LOWER, UPPER, TryOn, check_region, read_tryon
from models.parts.tryon.rows import disc
from models.parts.tryon.worn import dressed

SIDE = 480
"""The longer side of the copy in which the person is looked for."""


class OverlayEngine(PictureEngine[TryOn]):
    """The garment of one picture laid onto the person of another.

    GrabCut finds person and garment; the person's silhouette, the colours of skin and clothes
    and the proportions of people say where the garment goes (:mod:`models.parts.tryon.body`).
    It is stretched row by row onto the body (:mod:`models.parts.tryon.fit`) and takes the
    light and the folds of what was worn (:mod:`models.parts.tryon.worn`). Clothes that it
    leaves uncovered turn into skin.

    One person who faces the camera, upright; the seed changes nothing.
    """

    operation = "try-on"
    parameters = ("category", "seed")
    formats = ()

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._matter = GrabcutMatter()

    def _read(self, request: RunRequest) -> TryOn:
        return read_tryon(request)

    def _steps(self, work: TryOn) -> int:
        return 2 * self._matter.stages + 2

    def _edit(self, work: TryOn, stages: Stages) -> Edited:
        high, wide = work.person.shape[:2]
        scale = min(1.0, SIDE / max(high, wide))
        size = (max(1, round(wide * scale)), max(1, round(high * scale)))
        small = np.asarray(cv2.resize(work.person, size, interpolation=cv2.INTER_AREA), np.uint8)
        alpha = self._silhouette(small, work.alpha, stages)
        body = find_body(small, alpha > 127, work.category)
        if work.category != UPPER:
            check_lower(body, work.category)
        worn = body.bottom if work.category == LOWER else body.torso
        check_region(np.where(worn, 255, 0).astype(np.uint8), work.category)
        stages.done()
        garment = read_garment(work.garment, work.category, self._matter, stages.done)
        fit = fitted(body, garment, work.category)
        whole = np.asarray(cv2.resize(alpha, (wide, high), interpolation=cv2.INTER_CUBIC), np.uint8)
        made = dressed(work.person, whole, body, fit, garment)
        stages.done()
        return Edited(Rows.of(joined(made, work.alpha)))

    def _silhouette(self, small: Pixels, before: Pixels | None, stages: Stages) -> Pixels:
        """The opacity of the person in the small picture, height x width."""
        found = self._matter.alpha(Image.fromarray(small), stages.done)
        # Between an arm and the side a pixel or two are lost.
        speck = disc(len(small) / 96)
        found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, speck), np.uint8)
        if before is None:
            return found
        size = (small.shape[1], small.shape[0])
        known = cv2.resize(before, size, interpolation=cv2.INTER_AREA)
        return np.minimum(found, np.asarray(known, np.uint8))

    def _text(self, work: TryOn) -> Mapping[str, Any]:
        return {"seed": work.seed, "category": work.category}
