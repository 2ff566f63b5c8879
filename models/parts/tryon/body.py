"""Where a person's clothes are, by silhouette, colour and the proportions of people.

No network: the head is what is above the narrowest place below it, the neck; all else is
measured in heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.parts.pictures import Pixels
from models.parts.tryon.request import not_found
from models.parts.tryon.rows import Mask, central_run, disc, largest

Floats = NDArray[np.float32]

_AREA = (0.02, 0.9)
"""A silhouette's share of the picture."""
_SLENDER = 0.8
"""A person is at least this many times as high as wide."""
_HEAD = (0.06, 0.45)
"""The share of a silhouette's height that is the head: from head to foot, and a bust's."""
_DENT = (1.1, 1.4)
"""A head is this many times as wide as its neck, at least: with a face, and without."""
_ROUND = 0.85
"""And with the neck this many times as high as wide."""
_SHOULDERS = 1.35
"""Shoulders are this many times as wide as the neck, at least."""
_WAIST = (1.4, 3.4)
"""Heads below the neck between which a top ends."""
_WAIST_USUAL = 2.5
_TORSO = 1.4
"""A torso's narrowest place is no wider than this many heads, without the arms."""
_HIPS = 1.42
"""And it is no wider than this many times that: what is wider has arms beside it."""
_NATURAL = 1.65
"""Heads from the neck to where a body is slimmest."""
_LOWER_MIN = 1.0
"""Heads below the waist that must be seen of legs."""
_HAIR_MIN, _HAIR_MAX = 0.15, 0.35
"""Of the head, and of the torso."""
_HAIR_LIKE, _HAIR_LONG = 20.0, 2.0
"""A distance in CIELAB, as bytes, and a length below the neck in heads."""
_FOOT = 0.34
_CHROMA = 11.0
"""How far the chroma of somebody's skin may be from their face's, in CIELAB."""
_SKIN_CR, _SKIN_CB = (134, 178), (76, 126)


@dataclass(frozen=True, slots=True)
class Body:
    """Somebody in a small picture; rows and columns in its pixels, masks height x width.

    ``head`` is the distance from the crown to the neck. ``top`` and ``bottom`` are what is
    worn above and below ``waist``, ``skin`` what is bare below the neck, ``hair`` what
    falls over the shoulders, and ``torso`` all between neck and waist but the arms.
    """

    silhouette: Mask
    centre: float
    neck: int
    waist: int
    feet: int
    head: float
    torso: Mask
    arms: Mask
    top: Mask
    bottom: Mask
    skin: Mask
    hair: Mask
    complexion: tuple[float, float, float] | None

    @property
    def slimmest(self) -> int:
        """The row of the natural waist, which a dress has and the end of a top is below."""
        return min(self.waist, self.neck + int(_NATURAL * self.head))


def find_body(picture: Pixels, silhouette: Mask, category: str) -> Body:
    """Find somebody's body in a picture (height x width x 3) by its silhouette.

    Raises:
        SegmentationFailed: the silhouette is nobody's, or what the category needs of it is
            not in the picture.
    """
    outline = largest(silhouette)
    rows = np.flatnonzero(outline.any(axis=1))
    if not _AREA[0] <= outline.mean() <= _AREA[1] or len(rows) < 24:
        not_found(category)
    columns = np.flatnonzero(outline.any(axis=0))
    if len(rows) < _SLENDER * len(columns):
        not_found(category)
    crown, lowest = int(rows[0]), int(rows[-1])
    bare = _skin(picture) & outline
    neck, centre = _neck(outline, bare, crown, lowest, category)
    head = float(neck - crown)
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2Lab).astype(np.float32)
    waist = _waist(lab, outline, centre, neck, head, lowest)
    complexion = _complexion(picture, bare, crown, neck, centre)
    below = np.zeros_like(outline)
    below[neck:] = outline[neck:]
    flesh = _like(picture, complexion)
    skin = below & flesh
    torso = _torso(below, skin, centre, neck, waist, head)
    arms = _arms(lab, below, torso, skin, centre, waist, head)
    dressed = below & ~skin
    top, bottom = dressed.copy(), dressed & ~arms
    top[waist:] &= arms[waist:]
    bottom[:waist] = False
    hair = _hair(lab, outline, flesh, torso, neck, head)
    top &= ~hair
    feet = _feet(lab, bottom | (skin & ~arms), lowest, waist, head)
    bottom[feet:] = False
    return Body(
        outline,
        centre,
        neck,
        waist,
        feet,
        head,
        torso,
        arms,
        top,
        bottom,
        _opened(skin, 3),
        hair,
        complexion,
    )


def check_lower(body: Body, category: str) -> None:
    """Refuse somebody whose legs are not in the picture.

    Raises:
        SegmentationFailed: they are not.
    """
    if body.feet - body.waist < _LOWER_MIN * body.head:
        not_found(category)


def _neck(outline: Mask, bare: Mask, crown: int, lowest: int, category: str) -> tuple[int, float]:
    """The row of the neck, and the body's middle column.

    Raises:
        SegmentationFailed: nothing is like a head on shoulders.
    """
    high = lowest - crown
    first, last = crown + int(_HEAD[0] * high), crown + int(_HEAD[1] * high)
    upper = outline[crown : crown + max(2, int(0.12 * high))]
    centre = float(np.nonzero(upper)[1].mean())
    run = central_run(outline, centre)
    widths = cv2.blur(run.sum(axis=1).astype(np.float32)[:, None], (1, 3)).ravel()
    for neck in range(first, last):
        # The neck is a dent: a head is above it, and shoulders are below.
        reach = max(3, (neck - crown) // 2)
        above = widths[crown:neck].max()
        below = widths[neck : neck + 2 * reach].max()
        here = widths[neck]
        narrowest = here <= widths[max(crown, neck - reach) : neck + reach].min() + 0.5
        faceless = bare[crown:neck].sum() < 0.15 * widths[crown:neck].sum()
        dent = _DENT[1] if faceless else _DENT[0]
        tall = neck - crown >= _ROUND * above
        if narrowest and tall and above >= dent * here and below >= _SHOULDERS * here:
            return neck, float(np.nonzero(run[neck])[0].mean())
    # Long hair hides the neck; the face's skin says where it ends.
    face = largest(bare[: crown + int(0.4 * high)])
    ys, xs = np.nonzero(face)
    if len(ys) < 0.01 * outline.sum():
        not_found(category)
    wide = float(np.percentile(xs, 95) - np.percentile(xs, 5))
    neck = int(min(np.percentile(ys, 2) + 1.45 * wide, lowest - 2))
    if not first <= neck <= last:
        not_found(category)
    return neck, float(np.median(xs))


def _waist(lab: Floats, outline: Mask, centre: float, neck: int, head: float, lowest: int) -> int:
    """The row in which the top ends: where the colour in the body's middle changes most."""
    usual = neck + _WAIST_USUAL * head
    first, last = neck + int(_WAIST[0] * head), neck + int(_WAIST[1] * head)
    half = max(2, round(0.25 * head))
    columns = slice(max(0, int(centre) - half), int(centre) + half + 1)
    last = min(last, lowest - half)
    if first >= last:
        return min(int(usual), lowest + 1)
    lines = np.where(outline[:, columns, None], lab[:, columns], np.nan)
    filled = np.where(np.isnan(lines).all(axis=1), 0, 1)[:, 0] > 0
    means = np.zeros((len(lab), 3), np.float32)
    means[filled] = np.nanmean(lines[filled], axis=1)
    span = max(2, round(0.18 * head))
    change = np.zeros(len(lab), np.float32)
    for row in range(first, last):
        change[row] = np.linalg.norm(
            means[row - span : row].mean(axis=0) - means[row + 1 : row + 1 + span].mean(axis=0)
        )
    best = int(change.argmax())
    return best if change[best] > 14 else min(int(usual), lowest + 1)


def _torso(below: Mask, skin: Mask, centre: float, neck: int, waist: int, head: float) -> Mask:
    run = central_run(below, centre)
    run[waist:] = False
    reach = np.arange(below.shape[1])
    slim = _TORSO * head
    if waist > neck + head:
        widths = run[neck + int(0.8 * head) : waist].sum(axis=1)
        slim = min(float(np.percentile(widths, 15)), slim)
    beside = np.abs(reach - centre) > 1.12 * slim / 2
    with_arms = run.sum(axis=1) > _HIPS * slim
    run[(with_arms[:, None] | skin) & beside[None]] = False
    return _opened(run, 0.1 * head)


def _arms(
    lab: Floats, below: Mask, torso: Mask, skin: Mask, centre: float, waist: int, head: float
) -> Mask:
    """What is beside the torso, and hangs on below the waist: hands, and long sleeves."""
    arms = below & ~torso
    arms[waist:] = False
    hang = np.zeros_like(below)
    hang[waist : waist + int(1.3 * head)] = below[waist : waist + int(1.3 * head)]
    sleeves = arms & ~skin
    like = skin.copy()
    if sleeves.any() and torso.any():
        worn = np.median(lab[torso], axis=0)
        beneath = lab[waist : waist + int(head)][below[waist : waist + int(head)]]
        other = np.median(beneath, axis=0) if len(beneath) else worn + 99
        near = np.linalg.norm(lab - worn, axis=2) < 0.5 * np.linalg.norm(lab - other, axis=2)
        like |= near
    arms |= _joined_to(hang & like, arms)
    # A hand's shadowed edge is no more like skin, but nothing else is out there.
    hips = float(np.percentile(torso[max(0, waist - 6) : waist].sum(axis=1), 50)) if waist else 0
    aside = hang & (np.abs(np.arange(below.shape[1]) - centre) > 0.54 * hips)[None]
    count, labels = cv2.connectedComponents(aside.astype(np.uint8))
    sizes = np.bincount(labels.ravel(), minlength=count)
    near = cv2.dilate(arms.astype(np.uint8), disc(0.1 * head)) > 0
    known = np.bincount(labels[near], minlength=count)
    hands = known > 0.3 * sizes
    hands[0] = False
    return np.asarray(arms | hands[labels])


def _hair(lab: Floats, outline: Mask, flesh: Mask, torso: Mask, neck: int, head: float) -> Mask:
    """Hair below the neck: what has the hair's colour and hangs on it; nothing where that is
    as good as all of the torso, since then the clothes have that colour too."""
    above = outline & ~flesh
    above[neck:] = False
    none = np.zeros_like(outline)
    if not flesh.any() or above.sum() < _HAIR_MIN * outline[:neck].sum():
        return none
    colour = np.median(lab[above], axis=0)
    near = outline & (np.linalg.norm(lab - colour, axis=2) < _HAIR_LIKE)
    near[neck + int(_HAIR_LONG * head) :] = False
    found = _joined_to(near | above, above & near) & near
    found[:neck] = False
    return _opened(found, 3) if found.sum() < _HAIR_MAX * torso.sum() else none


def _feet(lab: Floats, legs: Mask, lowest: int, waist: int, head: float) -> int:
    """The row from which on the feet are: where the colour of the legs changes, or what is
    usual; the picture's end where it cuts the legs off."""
    if lowest >= len(legs) - 2:
        return len(legs)
    usual = lowest + 1 - int(_FOOT * head)
    first, last = max(waist + 2, lowest - int(0.8 * head)), lowest - 1
    means = [lab[row][legs[row]].mean(axis=0) for row in range(first, last) if legs[row].any()]
    if len(means) < 8:
        return usual
    found = np.asarray(means)
    span = max(2, len(found) // 8)
    changes = [
        float(np.linalg.norm(found[n - span : n].mean(axis=0) - found[n : n + span].mean(axis=0)))
        for n in range(span, len(found) - span)
    ]
    if not changes or max(changes) < 12:
        return usual
    # The first of them: bare ankles are kept as well.
    strong = next(n for n, change in enumerate(changes) if change > 0.6 * max(changes))
    nearby = changes[strong : strong + span + 1]
    return first + span + strong + nearby.index(max(nearby))


def _skin(picture: Pixels) -> Mask:
    """Chroma of skin of any shade (Chai and Ngan, 1999, with wider bounds)."""
    planes = cv2.cvtColor(cv2.GaussianBlur(picture, (3, 3), 0), cv2.COLOR_RGB2YCrCb)
    cr, cb = planes[..., 1], planes[..., 2]
    likely = (cr >= _SKIN_CR[0]) & (cr <= _SKIN_CR[1]) & (cb >= _SKIN_CB[0]) & (cb <= _SKIN_CB[1])
    return np.asarray(likely)


def _complexion(
    picture: Pixels, bare: Mask, crown: int, neck: int, centre: float
) -> tuple[float, float, float] | None:
    """The face's colour, from the middle of the head; None where it shows no skin (hair, seen
    from behind, or a picture without colour)."""
    head = neck - crown
    rows = slice(crown + int(0.35 * head), crown + int(0.85 * head))
    columns = slice(max(0, int(centre - 0.22 * head)), int(centre + 0.22 * head) + 1)
    found = picture[rows, columns][bare[rows, columns]]
    if len(found) < 0.4 * bare[rows, columns].size:
        return None
    red, green, blue = np.median(found, axis=0)
    return float(red), float(green), float(blue)


def _like(picture: Pixels, colour: tuple[float, float, float] | None) -> Mask:
    """Where a picture has the chroma of a skin, in whatever light."""
    if colour is None:
        return np.zeros(picture.shape[:2], bool)
    one = np.array([[colour]], np.float32) / 255
    known = cv2.cvtColor(one, cv2.COLOR_RGB2LAB)[0, 0]
    soft = cv2.GaussianBlur(picture, (3, 3), 0).astype(np.float32) / 255
    lab = cv2.cvtColor(soft, cv2.COLOR_RGB2LAB)
    away = np.linalg.norm(lab[..., 1:] - known[1:], axis=2)
    lit = (lab[..., 0] > 0.5 * known[0]) & (lab[..., 0] < 1.35 * known[0])
    return np.asarray((away < _CHROMA) & lit)


def _opened(mask: Mask, pixels: float) -> Mask:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc(pixels)) > 0


def _joined_to(mask: Mask, core: Mask) -> Mask:
    count, labels = cv2.connectedComponents((mask | core).astype(np.uint8))
    keep = np.zeros(count, bool)
    keep[np.unique(labels[core])] = True
    keep[0] = False
    return np.asarray(keep[labels] & mask)
