"""Object removal by Telea's inpainting: the CPU twin of LaMa."""

from __future__ import annotations

import numpy as np
from PIL import Image

from farm.types import RunRequest
from models.base import EngineSetup
from models.parts.colour_words import WordsFinder
from models.parts.filling import RING_PIXELS, filled
from models.parts.hidden import bled
from models.parts.holes import blend_margin, bounds, grown, pasted
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, flattened, joined
from models.parts.removal import Area, Removal, areas_of, read_removal
from models.parts.shadows import with_shadow

_REACH = 4
"""How far around a hole its filling may come from, in sizes of the hole."""


class TeleaEngine(PictureEngine[Removal]):
    """What the mask covers, or what the words mean, is filled from what surrounds it; see
    :mod:`models.parts.filling`.

    Each separate part of the mask is filled by itself. Pixels outside the mask, grown by the
    blend margin, stay as they are. An alpha channel is filled too, so that a hole in front of
    nothing is nothing. Words are understood by :class:`models.parts.colour_words.WordsFinder`,
    and what it finds is grown by the blend margin, since it ends at the thing's very edge.
    """

    operation = "remove-object"
    parameters = ("prompt",)

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._finder = WordsFinder()

    def _read(self, request: RunRequest) -> Removal:
        return read_removal(request)

    def _steps(self, work: Removal) -> int:
        return 1 + (self._finder.stages if work.prompt is not None else 0)

    def _edit(self, work: Removal, stages: Stages) -> Edited:
        height, width = work.colours.shape[:2]
        margin = blend_margin(width, height)
        mask = work.mask
        if mask is None:
            assert work.prompt is not None
            seen = flattened(work.colours, work.alpha)
            found = self._finder.mask(Image.fromarray(seen), work.prompt, stages.done)
            mask = grown(with_shadow(seen, found), margin)
        areas = areas_of(mask, margin, RING_PIXELS)
        stages.total += len(areas) - 1
        colours, alpha = work.colours.copy(), None if work.alpha is None else work.alpha.copy()
        todo = mask.copy()
        for area in areas:
            _fill(area, colours, alpha, todo, margin)
            todo[area.rows, area.columns][area.mask > 0] = 0
            stages.done()
        return Edited(Rows.of(joined(colours, alpha)))


def _fill(area: Area, colours: Pixels, alpha: Pixels | None, todo: Pixels, margin: int) -> None:
    """Fill one part of the mask, in place. What other parts still cover lends nothing."""
    here = _surroundings(area, todo.shape)
    mask = np.zeros_like(todo[here])
    top, left = area.rows.start - here[0].start, area.columns.start - here[1].start
    mask[top : top + area.mask.shape[0], left : left + area.mask.shape[1]] = area.mask
    hole = grown(todo[here], margin)
    seen = alpha[here] if alpha is not None else None
    filling = filled(bled(colours[here], seen), hole)
    if seen is not None and seen.min() < 255:
        made = filled(np.repeat(seen[..., None], 3, axis=2), hole, textured=False)
        seen[...] = pasted(seen[..., None], made[..., :1], mask, margin)[..., 0]
    colours[here] = pasted(colours[here], filling, mask, margin)


def _surroundings(area: Area, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of the picture that may lend to an area: the area's own, and more."""
    left, top, right, bottom = bounds(area.mask, 0)
    reach = round(_REACH * max(right - left, bottom - top)) + 2 * RING_PIXELS
    return _wider(area.rows, top, bottom, reach, shape[0]), _wider(
        area.columns, left, right, reach, shape[1]
    )


def _wider(part: slice, first: int, last: int, reach: int, limit: int) -> slice:
    start = min(part.start, part.start + first - reach)
    stop = max(part.stop, part.start + last + reach)
    return slice(max(0, start), min(limit, stop))
