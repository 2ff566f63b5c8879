"""What a job wants removed, and the parts of the picture that are worked on for it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from farm.errors import FieldError, InvalidRequest
from farm.types import RunRequest
from models.parts.holes import grown
from models.parts.pictures import Pixels, open_input, open_mask, split

AREAS_MAX = 8
"""A mask of more separate areas is worked on in the largest ones and one of all the rest."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A job, read: colours (height x width x 3), the alpha channel if there is one, and the
    mask of what to remove or, without one, the words for it."""

    colours: Pixels
    alpha: Pixels | None
    mask: Pixels | None
    prompt: str | None


def read_removal(request: RunRequest) -> Removal:
    """The picture and what to remove from it. Where both are there, the mask says where, and
    the words are not needed.

    Raises:
        InvalidRequest: neither is there, or one of them cannot be used.
    """
    prompt = request.params.get("prompt")
    if prompt is not None and (not isinstance(prompt, str) or not prompt.strip()):
        raise InvalidRequest([FieldError("prompt", "must be text, and not empty.")])
    image = open_input(request, "image")
    mask = open_mask(request, "mask", image.size)
    if mask is None and prompt is None:
        raise InvalidRequest([FieldError("mask", "is required, or a prompt instead.")])
    colours, alpha = split(image)
    return Removal(colours, alpha, mask, None if mask is not None else prompt)


@dataclass(frozen=True, slots=True)
class Area:
    """One connected part of a mask: ``rows`` and ``columns`` of the picture with context
    around it, and which of those pixels are its own (255, else 0)."""

    rows: slice
    columns: slice
    mask: Pixels


def areas_of(mask: Pixels, margin: int, context_min: int) -> list[Area]:
    """The parts of a mask, the largest first, that stay apart when grown by ``margin``.

    Each has around it half of its own longer side as context, and ``context_min`` pixels at
    least, as far as the picture goes.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(grown(mask, margin))
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    groups = [[int(label)] for label in order]
    if len(groups) > AREAS_MAX:
        rest = [label for group in groups[AREAS_MAX - 1 :] for label in group]
        groups = [*groups[: AREAS_MAX - 1], rest]
    areas = []
    for group in groups:
        boxes = stats[group]
        left, top = boxes[:, cv2.CC_STAT_LEFT].min(), boxes[:, cv2.CC_STAT_TOP].min()
        right = (boxes[:, cv2.CC_STAT_LEFT] + boxes[:, cv2.CC_STAT_WIDTH]).max()
        bottom = (boxes[:, cv2.CC_STAT_TOP] + boxes[:, cv2.CC_STAT_HEIGHT]).max()
        context = max(context_min, int(max(right - left, bottom - top)) // 2)
        rows = slice(max(0, int(top) - context), min(mask.shape[0], int(bottom) + context))
        columns = slice(max(0, int(left) - context), min(mask.shape[1], int(right) + context))
        wanted = np.zeros(count, np.uint8)
        wanted[group] = 255
        areas.append(Area(rows, columns, wanted[labels[rows, columns]] & mask[rows, columns]))
    return areas
