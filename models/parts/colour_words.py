"""The plain finder of what a customer's words mean: by colour, place and size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.parts.colour_names import Floats, fit
from models.parts.matting import OnStage
from models.parts.pictures import Pixels
from models.parts.wishes import Wish, understood
from models.parts.words import not_found

ADVICE = (
    "What can be found here is one thing by its colour, its place in the picture or both, "
    "such as 'the red ball' or 'the cup at the bottom left'. For anything else, send a mask."
)

_SIDE = 384
"""The longer side, in pixels, of the small picture in which things are looked for."""
_EDGE_SIDE = 1200
"""The longer side of the part in which a thing's edge is then drawn."""
_AREA = 0.0007, 0.6
"""The least and the most of the picture that is a thing."""
_FRAME_MAX = 0.2
"""What touches more of the picture's edge than this is what things stand before."""
_FIT_MIN = 0.45
_CLUSTERS = 8
_BAND_STRANGE = 0.4
_SHADOW = 0.55
"""The least lightness that a shadow leaves of what it falls on."""


class WordsFinder:
    """A :class:`models.parts.words.Finder` without a network. Two stages: finding the thing in
    a small picture, drawing its edge in the large one. Deterministic; holds nothing."""

    name = "words"
    stages = 2
    resident_bytes = 0

    def load(self, device: str) -> None:
        """Nothing to load."""

    def unload(self) -> None:
        """Nothing to give back."""

    def mask(self, image: Image.Image, prompt: str, on_stage: OnStage) -> Pixels:
        """See :meth:`models.parts.words.Finder.mask`."""
        wish = understood(prompt)
        if wish is None:
            not_found(prompt, ADVICE)
        picture = np.asarray(image.convert("RGB"))
        small = _small(picture)
        thing = _best(small, wish)
        if thing is None:
            not_found(prompt, ADVICE)
        on_stage()
        mask = _edged(picture, thing)
        on_stage()
        return mask


@dataclass(frozen=True, slots=True)
class _Thing:
    """A candidate in the small picture; what it is like is in shares of 1."""

    mask: NDArray[np.bool_]
    x: float
    y: float
    area: float
    fit: float
    standing_out: float
    compact: float


def _small(picture: Pixels) -> Floats:
    """The picture in Lab, no longer than _SIDE, noise and grain taken out, edges kept."""
    height, width = picture.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    calm = cv2.medianBlur(small.reshape(size[1], size[0], 3), 5)
    lab = cv2.cvtColor(calm.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    return np.asarray(lab, np.float32)


def _best(lab: Floats, wish: Wish) -> _Thing | None:
    strange = _strangeness(lab)
    things = _bridged(_parts(strange > 1, lab.shape[0]), strange)
    if wish.colours:
        suits = fit(wish.colours, lab)
        coloured = _bridged(_parts(suits > _FIT_MIN, lab.shape[0]), strange)
        masks = _completed(coloured, things)
    else:
        suits = np.ones(lab.shape[:2], np.float32)
        masks = things
    found = [_described(mask, suits, strange) for mask in masks]
    fitting = [thing for thing in found if _is_thing(thing) and _is_there(thing, wish)]
    return max(fitting, key=lambda thing: _worth(thing, wish), default=None)


def _strangeness(lab: Floats) -> Floats:
    """How unlike the colours along the picture's edge each pixel is; 1 is where it begins to
    be seen. The edge shows what things stand before: a wall, a table, a meadow."""
    height, width = lab.shape[:2]
    strip = max(1, round(0.04 * min(height, width)))
    edge = np.ones((height, width), bool)
    edge[strip : height - strip, strip : width - strip] = False
    samples = lab[edge]
    groups = _clustered(samples)
    sizes = np.bincount(groups, minlength=_CLUSTERS)
    strange = np.full((height, width), np.inf, np.float32)
    for group in range(_CLUSTERS):
        # A small one is a thing that reaches the edge.
        if sizes[group] < 0.03 * len(samples):
            continue
        own = samples[groups == group]
        spread = 4.5 + 2.5 * own.std(axis=0)
        middle = own.mean(axis=0)
        # A shadow on it is the same colour with less light, and nothing strange.
        dimmed = np.clip(lab[..., :1] / max(float(middle[0]), 1.0), _SHADOW, 1)
        off = np.sqrt((((lab - dimmed * middle) / spread) ** 2).sum(axis=2))
        strange = np.minimum(strange, off)
    return strange / np.float32(1.6)


def _clustered(samples: Floats) -> NDArray[np.int64]:
    """Group numbers of colours (count x 3) by k-means, begun the same way each time."""
    order = np.argsort(samples @ np.array([1, 0.7, 0.4], np.float32), kind="stable")
    centres = samples[order[np.linspace(0, len(order) - 1, _CLUSTERS).round().astype(int)]]
    groups = np.zeros(len(samples), np.int64)
    for _ in range(12):
        away = ((samples[:, None] - centres[None]) ** 2).sum(axis=2)
        groups = away.argmin(axis=1)
        for group in range(_CLUSTERS):
            if (groups == group).any():
                centres[group] = samples[groups == group].mean(axis=0)
    return groups


def _parts(where: NDArray[np.bool_], height: int) -> list[NDArray[np.bool_]]:
    """The connected parts that are large enough to be something, their small holes closed."""
    side = max(3, 2 * (height // 160) + 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(where.astype(np.uint8), cv2.MORPH_OPEN, disc)
    closed = cv2.morphologyEx(closed, cv2.MORPH_CLOSE, disc)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    least = _AREA[0] * where.size
    return [
        _without_small_holes(labels == label)
        for label in range(1, count)
        if stats[label, cv2.CC_STAT_AREA] >= least
    ]


def _without_small_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A highlight or a print on a thing is part of it; a ring's hole is not."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8))
    size = mask.sum()
    out = mask.copy()
    for label in range(1, count):
        left, top, wide, high, area = stats[label]
        within = left > 0 and top > 0
        within = within and left + wide < mask.shape[1] and top + high < mask.shape[0]
        if within and area < 0.25 * size:
            out |= labels == label
    return out


def _bridged(parts: list[NDArray[np.bool_]], strange: Floats) -> list[NDArray[np.bool_]]:
    """Parts that a band divides (a bottle with a label around it) as one: where the edges of
    one go on in the other, and what is between is not simply what lies behind."""
    parts = list(parts)
    for upright in (True, False):
        first = 0
        while first < len(parts):
            for second in range(len(parts)):
                if second == first:
                    continue
                a, b, back = parts[first], parts[second], strange
                if not upright:
                    a, b, back = a.T, b.T, back.T
                band = _band_between(a, b)
                if band is not None and back[band].mean() > _BAND_STRANGE:
                    whole = a | b | band
                    parts[first] = whole if upright else whole.T
                    del parts[second]
                    first = -1  # what has grown may go on in yet another part
                    break
            first += 1
    return parts


def _band_between(above: NDArray[np.bool_], below: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """What is between two parts that are as wide where they face each other, or None."""
    end = int(np.flatnonzero(above.any(axis=1))[-1])
    start = int(np.flatnonzero(below.any(axis=1))[0])
    # Corners are rounded by what the parts were cleaned with.
    upper = np.flatnonzero(above[max(0, end - 6) : end + 1].any(axis=0))
    lower = np.flatnonzero(below[start : start + 7].any(axis=0))
    wide = max(np.ptp(upper), np.ptp(lower))
    off = max(abs(int(upper[0]) - int(lower[0])), abs(int(upper[-1]) - int(lower[-1])))
    if not 0 < start - end <= 1.2 * wide or off > 0.12 * wide:
        return None
    band = np.zeros_like(above)
    band[end - 2 : start + 3, min(upper[0], lower[0]) : max(upper[-1], lower[-1]) + 1] = True
    return band


def _completed(
    coloured: list[NDArray[np.bool_]], things: list[NDArray[np.bool_]]
) -> list[NDArray[np.bool_]]:
    """Parts of a colour, made whole: a blue bottle has a label that is not blue."""
    out = []
    for thing in things:
        of_it = [part for part in coloured if (part & thing).sum() > 0.6 * part.sum()]
        if not of_it:
            continue
        together = np.any(of_it, axis=0)
        if (together & thing).sum() > 0.4 * thing.sum():
            out.append(together | thing)
            coloured = [part for part in coloured if not any(part is own for own in of_it)]
    return out + coloured


def _described(mask: NDArray[np.bool_], suits: Floats, strange: Floats) -> _Thing:
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    hull = cv2.convexHull(np.stack([xs, ys], axis=1).astype(np.int32))
    compact = len(xs) / max(float(cv2.contourArea(hull)), len(xs))
    return _Thing(
        mask=mask,
        x=float(xs.mean() + 0.5) / width,
        y=float(ys.mean() + 0.5) / height,
        area=len(xs) / mask.size,
        fit=float(suits[mask].mean()),
        standing_out=float(np.clip(strange[mask] / 3, 0, 1).mean()),
        compact=compact,
    )


def _is_thing(thing: _Thing) -> bool:
    mask = thing.mask
    frame = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    on_frame = sum(int(line.sum()) for line in frame) / sum(line.size for line in frame)
    return _AREA[0] <= thing.area <= _AREA[1] and on_frame <= _FRAME_MAX


def _is_there(thing: _Thing, wish: Wish) -> bool:
    return all(
        goal is None or (abs(at - 0.5) < 0.22 if goal == 0 else (at - 0.5) * goal > 0.02)
        for at, goal in ((thing.x, wish.across), (thing.y, wish.down))
    )


def _worth(thing: _Thing, wish: Wish) -> float:
    """How well a thing answers the words; only compared."""
    size = float(np.sqrt(thing.area))
    worth = 1.5 * thing.standing_out + thing.fit + 0.6 * thing.compact
    worth += (1.5 if wish.size == 0 else 8 * wish.size) * min(size, 0.5)
    for at, goal in ((thing.x, wish.across), (thing.y, wish.down)):
        if goal is not None:
            worth += 2 * (0.5 - abs(at - 0.5)) if goal == 0 else 2 * (at - 0.5) * goal
    return worth


def _edged(picture: Pixels, thing: _Thing) -> Pixels:
    """The thing's mask in the whole picture, its edge where its colours end."""
    height, width = picture.shape[:2]
    rows, columns = thing.mask.shape
    unit = max(1.0, max(height, width) / max(rows, columns))
    ys, xs = np.nonzero(thing.mask)
    reach = 12
    top, bottom = max(0, int(ys[0]) - reach), min(rows, int(ys[-1]) + 1 + reach)
    left, right = max(0, int(xs.min()) - reach), min(columns, int(xs.max()) + 1 + reach)
    y0, y1 = round(top * height / rows), round(bottom * height / rows)
    x0, x1 = round(left * width / columns), round(right * width / columns)
    part = picture[y0:y1, x0:x1]
    scale = min(1.0, _EDGE_SIDE / max(part.shape[:2]))
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    fine = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    small = thing.mask[top:bottom, left:right].astype(np.float32)
    rough = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR).reshape(size[1], size[0])
    inside = _drawn(fine.reshape(size[1], size[0], 3), np.asarray(rough > 0.5), unit * scale)
    whole = cv2.resize(
        inside.astype(np.float32), (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR
    )
    mask = np.zeros((height, width), np.uint8)
    mask[y0:y1, x0:x1] = np.where(whole.reshape(part.shape[:2]) > 0.5, 255, 0)
    return mask


def _drawn(fine: Pixels, rough: NDArray[np.bool_], unit: float) -> NDArray[np.bool_]:
    """Where the thing is, given where it roughly is, known to about two times ``unit`` pixels.

    In the band between, a pixel goes to the side whose colours nearby it resembles more.
    """
    deep = _distance(rough) > 2.5 * unit
    away = _distance(~rough) > 2.5 * unit
    if not deep.any() or not away.any():
        return rough
    colours = np.asarray(cv2.GaussianBlur(fine.astype(np.float32), (0, 0), 0.7), np.float32)
    side = 2 * round(6 * unit) + 1
    ours, near = _local(colours, deep, side)
    theirs, beside = _local(colours, away, side)
    apart = theirs - ours
    along = ((colours - ours) * apart).sum(axis=2)
    is_ours = along < 0.5 * (apart**2).sum(axis=2)
    out = np.where(near & beside, is_ours, rough)
    out = (out | deep) & ~away
    calm = cv2.medianBlur(out.astype(np.uint8) * 255, 5) > 0
    return np.asarray(calm)


def _distance(mask: NDArray[np.bool_]) -> Floats:
    made = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(made, np.float32)


def _local(
    colours: Floats, where: NDArray[np.bool_], side: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """The mean colour of the marked pixels in a square around each pixel, and where there
    are any."""
    weights = where.astype(np.float32)
    share = cv2.blur(weights, (side, side))
    mean = cv2.blur(colours * weights[..., None], (side, side)) / np.maximum(share, 1e-6)[..., None]
    return np.asarray(mean, np.float32), np.asarray(share > 1e-3)
