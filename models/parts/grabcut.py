"""Cutting a thing out without a network: saliency, GrabCut, and a look at the background.

GrabCut (Rother, Kolmogorov and Blake, 2004) wants somebody to draw a rectangle. Here the
regions that stand out take its place, and what the background around the thing does and does
not explain settles what colour alone cannot: white labels on a white wall, the inside of a
handle, a shadow.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.parts.backdrop import Small, Unexplained, unexplained
from models.parts.edges import opacity
from models.parts.focus import without_blurred
from models.parts.matting import OnStage
from models.parts.pictures import Pixels
from models.parts.saliency import saliency, small_lab

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDE_MIN = 16
"""Pictures narrower than this hold nothing that could be told from its background."""

_SALIENCY_SIDE = 256
_WORK_SIDE = 400
_EDGE_SIDE = 2048
"""Longer pictures get their edge at this size: four times the pixels show no more of it."""
_ROUNDS = 4
_DOUBT = 2.0
"""Times the usual difference at which a pixel may as well be the thing."""
_TRUST = 0.7
"""What GrabCut's opinion weighs, in natural logarithms of that multiple."""
_CERTAIN = 1.2
_PART_MIN = 0.005
"""Of the thing's area: what stands apart from it and is smaller is a speck."""
_FRAME = 0.1
_CROWDED = 0.75


class GrabcutMatter:
    """A :class:`models.parts.matting.Matter` that needs no weights.

    A picture in which nothing stands out is left whole.
    """

    name: ClassVar[str] = "grabcut"
    stages: ClassVar[int] = 4
    resident_bytes: ClassVar[int] = 0

    def load(self, device: str) -> None:
        """There is nothing to load."""

    def unload(self) -> None:
        """There is nothing to give back."""

    def alpha(self, image: Image.Image, on_stage: OnStage) -> Pixels:
        """See :meth:`models.parts.matting.Matter.alpha`."""
        colours = np.asarray(image)
        on_stage()
        if min(image.size) < SIDE_MIN:
            whole = np.full((image.height, image.width), 255, np.uint8)
            for _ in range(self.stages - 1):
                on_stage()
            return whole
        strength = saliency(small_lab(colours, _SALIENCY_SIDE))
        on_stage()
        small = Small.of(colours, _WORK_SIDE)
        height, width = small.lab.shape[:2]
        strength = cv2.resize(strength, (width, height)).astype(np.float32)
        cut = _grabcut(small, strength)
        on_stage()
        mask = without_blurred(colours, _settled(small, strength, cut))
        on_stage()
        return (
            _full_size(colours, mask) if mask.any() else np.full(colours.shape[:2], 255, np.uint8)
        )


def _full_size(colours: Pixels, mask: Mask) -> Pixels:
    height, width = colours.shape[:2]
    factor = min(1.0, _EDGE_SIDE / max(height, width))
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        colours = np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_AREA), np.uint8)
    alpha = np.rint(255 * opacity(colours, mask)).astype(np.uint8)
    if factor < 1:
        alpha = np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_CUBIC))
    return alpha


def _grabcut(small: Small, strength: Floats) -> Mask:
    """What GrabCut takes for the thing, started from what stands out."""
    level, _ = cv2.threshold(
        np.rint(255 * strength).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU
    )
    high = level / 255
    labels = np.full(strength.shape, cv2.GC_BGD, np.uint8)
    around = _grown(strength > 0.5 * high, 0.028)
    labels[around | (strength > 0.25 * high)] = cv2.GC_PR_BGD
    labels[strength > 0.8 * high] = cv2.GC_PR_FGD
    seeds = np.asarray(labels == cv2.GC_PR_FGD)
    if min(seeds.sum(), (~seeds).sum()) < 10:  # its mixtures of five colours need some pixels
        return seeds
    cv2.setRNGSeed(1)  # GrabCut starts with k-means, which draws
    lab = cv2.cvtColor(small.rgb, cv2.COLOR_RGB2Lab)
    back, front = np.zeros((1, 65)), np.zeros((1, 65))
    nowhere = (0, 0, 1, 1)  # asked for, and not looked at when there are labels
    cv2.grabCut(lab, labels, nowhere, back, front, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def _settled(small: Small, strength: Floats, cut: Mask) -> Mask:
    """The thing's mask, from GrabCut's opinion and from what the background explains."""
    core = _main_parts(cut, strength)
    if not core.any():
        return core
    cut = _joined_to(cut, core)
    around = _surroundings(small, core)
    found = unexplained(small, around)
    if found is None:
        return _filled(cut, core, _opinion(cut), cut)
    evidence = np.where(cut, found.plain, found.shaded)
    opinion = np.clip(np.log(evidence / _DOUBT + 1e-3), -2.5, 1.5) + _TRUST * _opinion(cut)
    opinion[~around] = -1
    opinion = np.asarray(cv2.GaussianBlur(opinion.astype(np.float32), (0, 0), 1.0), np.float32)
    mask = (opinion > 0) & around
    # A thin line of little evidence is the table's edge, or a seam in the wood.
    mask &= _opened(mask, 3) | (opinion > _CERTAIN)
    mask &= _opened(mask, 5) | cut
    mask = _joined_to(mask, core) | (mask & _hull(core))
    mask = _large_parts(mask, _PART_MIN * float(core.sum()))
    return _filled(mask, core, opinion, cut)


def _opinion(cut: Mask) -> Floats:
    return np.where(cut, 1, -1).astype(np.float32)


def _surroundings(small: Small, core: Mask) -> Mask:
    """A region that surely holds all of the thing, and leaves as much background as it can."""
    around = _grown(_hull(core), 0.04)
    height, width = core.shape
    inner = np.zeros(core.shape, bool)
    top, left = max(1, int(_FRAME * height)), max(1, int(_FRAME * width))
    inner[top:-top, left:-left] = True
    inner |= _grown(core, 0.03)
    # Parts that GrabCut missed are what even the picture's frame does not explain. Half the
    # size will do to see where they are.
    half = Small.of(small.rgb, max(height, width) // 2)
    found = unexplained(half, _resized(inner, half.lab.shape))
    if found is not None:
        strange = _resized(_strange(found), core.shape) & inner
        wider = _grown(_hull(core | _joined_to(strange, core)), 0.04)
        if wider.mean() < _CROWDED:
            around = wider
    return around if around.mean() < 0.85 else _grown(core, 0.02)


def _resized(mask: Mask, shape: tuple[int, ...]) -> Mask:
    size = (shape[1], shape[0])
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def _strange(found: Unexplained) -> Mask:
    strange = ((found.plain > 5) & (found.shaded > 5)).astype(np.uint8)
    return cv2.morphologyEx(strange, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def _main_parts(cut: Mask, strength: Floats) -> Mask:
    """The parts that are large, salient and in the middle, by comparison with the best."""
    count, labels, _, centres = cv2.connectedComponentsWithStats(cut.astype(np.uint8))
    height, width = cut.shape
    sums = np.bincount(labels.ravel(), strength.ravel(), count)
    away = ((centres / (width, height) - 0.5) ** 2).sum(axis=1)
    scores = sums * np.exp(-away / (2 * 0.25**2))
    scores[0] = 0
    keep = (scores >= 0.25 * scores.max()) & (scores > 0)
    return np.asarray(keep[labels])


def _joined_to(mask: Mask, core: Mask) -> Mask:
    """The parts of a mask that touch another one."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    keep = np.zeros(count, bool)
    keep[np.unique(labels[mask & core])] = True
    keep[0] = False
    return np.asarray(keep[labels])


def _opened(mask: Mask, side: int) -> Mask:
    square = np.ones((side, side), np.uint8)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, square) > 0


def _large_parts(mask: Mask, area_min: float) -> Mask:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    keep = np.bincount(labels.ravel(), minlength=count) >= area_min
    keep[0] = False
    return np.asarray(keep[labels])


def _filled(mask: Mask, core: Mask, opinion: Floats, cut: Mask) -> Mask:
    """Without the gaps inside that are not clearly background."""
    if not mask.any():
        mask = core
    count, labels = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    sizes = np.bincount(labels.ravel(), minlength=count)
    means = np.bincount(labels.ravel(), opinion.ravel(), count) / np.maximum(sizes, 1)
    shares = np.bincount(labels.ravel(), cut.ravel(), count) / np.maximum(sizes, 1)
    fill = (sizes < 12) | (means > -0.3) | ((shares > 0.6) & (means > -0.58))
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        fill[line] = False  # not inside
    fill[0] = False
    return np.asarray(mask | fill[labels])


def _hull(mask: Mask) -> Mask:
    points = cv2.findNonZero(mask.astype(np.uint8))
    out = np.zeros(mask.shape, np.uint8)
    if points is not None:
        cv2.fillConvexPoly(out, cv2.convexHull(points), 1)
    return out > 0


def _grown(mask: Mask, share: float) -> Mask:
    """Grown by a share of the longer side."""
    radius = max(1, int(share * max(mask.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0
