"""Reads a picture of simple things: which there are, in which colours, where, and on what.

Nothing here knows of a model, or of what a picture was meant to show. A picture is brought to one
size; its background is found along its edge; what differs from it falls into pieces by place and
colour; each piece is compared with the outlines of the shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.tiny.evaluate import colours, grounds, templates
from models.tiny.evaluate.colours import Floats
from models.tiny.evaluate.grounds import Ground
from models.tiny.evaluate.templates import Mask
from models.tiny.scenes.draw import Pixels
from models.tiny.scenes.plan import Backing, Shape

_SIDE = 256
"""The shorter side that pictures are read at. Blur and noise of a larger one mostly go."""
_STANDS_OUT = (9.0, 14.0)
"""From how far off the background a pixel is a thing's, in Delta E; the more noise, the more."""
_SAME = 24.0
"""How far apart the colours of one thing may be, in Delta E."""
_SPECK = 0.002
"""What is smaller is no thing: in parts of the square over the shorter side."""
_THIN = 0.014
"""Half the thickness that a thing has at least, in parts of the shorter side."""
_MIXED = 0.03
"""Half the thickness, at the most, of where a thing's edge mixes with its background."""
_TINGE = 0.4
"""How much of another colour the background may have next to it, where it is wide."""
_STAIN = 22.0
"""How far off the background a stain on it may be, in Delta E."""
_OFF_THE_LINE = 36.0
"""How far from a mixture of two colours a third one may be and still be taken for it, in RGB."""
_DEEPEST = 0.5
"""How much of the light a shadow leaves, at the least."""

_Share = tuple[Floats, list[Mask]]
"""A colour in L*a*b*, and the connected pixels that have it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing. ``shape`` is None where it has none of the known ones; ``colour`` is a name of
    ``plan.COLOURS``, or ``colours.UNNAMED``; the rest is as in ``plan.Thing``."""

    shape: Shape | None
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows. ``background`` is one colour's name, or the two of a gradient, of two
    tones, or of a wall and its table (the upper or left one first); ``things`` are from left to
    right; ``upright`` is as in ``plan.Background``."""

    background: tuple[str, ...]
    kind: Backing
    things: tuple[Seen, ...]
    upright: bool = True


def read(picture: Pixels) -> Reading:
    """What a picture (height x width x 3, sRGB, 32 pixels a side or more) shows.

    Raises:
        ValueError: it has another form.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape[:2]) < 32:
        raise ValueError(f"a picture of {picture.shape} cannot be read")
    small = _resized(picture)
    ground = grounds.find(small)
    away = grounds.distance(small, ground)
    pieces = _pieces(small, ground, _foreground(small, away, ground))
    things = sorted((_seen(piece, colour) for piece, colour in pieces), key=lambda each: each.x)
    return Reading(ground.names, ground.kind, tuple(things), ground.upright)


def _resized(picture: Pixels) -> Floats:
    height, width = picture.shape[:2]
    zoom = _SIDE / min(height, width)
    size = (max(_SIDE, round(width * zoom)), max(_SIDE, round(height * zoom)))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    # A median keeps corners that a mean would round.
    return np.asarray(cv2.medianBlur(cv2.resize(picture, size, interpolation=how), 3), np.float32)


def _foreground(small: Floats, away: Floats, ground: Ground) -> Mask:
    least, most = _STANDS_OUT
    noise = float(np.median(away[away < most])) if (away < most).any() else most
    mask = away > np.clip(2.5 * noise + 4, least, most)
    if ground.kind is Backing.TABLE:
        lit = (mask & ~_shadow(small, ground)).astype(np.uint8)
        # Where wall and table meet, a grey thing may look like the shadow of either.
        mask = cv2.morphologyEx(lit, cv2.MORPH_CLOSE, np.ones((13, 1), np.uint8)) > 0
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(opened > 0)


def _shadow(small: Floats, ground: Ground) -> Mask:
    """Where there is the background itself with less light, on a table."""
    behind = ground.surface
    light = (small * behind).sum(axis=2) / np.maximum((behind**2).sum(axis=2), 1.0)
    alike = np.linalg.norm(small - behind * light[..., None], axis=2) < 14
    rows = np.arange(len(small))[:, None] > (ground.share - 0.02) * len(small)
    return np.asarray(alike & rows & (light > _DEEPEST) & (light < 1))


def _pieces(small: Floats, ground: Ground, mask: Mask) -> list[tuple[Mask, Floats]]:
    """The things' pixels, each with its colour in L*a*b*."""
    seen, behind = colours.lab(small), colours.lab(ground.surface)
    outside = np.linalg.norm(seen - behind, axis=2)
    found: list[tuple[Mask, Floats]] = []
    for part in _connected(mask):
        tones = _tones(seen[_core(part)], one=ground.kind is Backing.TABLE)
        # The threshold lies near the background; a thing ends half-way to it.
        around = cv2.dilate(part.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        shares = _shared_out(seen, around, outside, tones)
        kept = [shares[n][0] for n in range(len(shares)) if not _is_blend(n, shares, small, ground)]
        if len(kept) < len(tones):
            shares = _shared_out(seen, around, outside, kept)
        found += [
            (piece, tone)
            for tone, pieces in shares
            for piece in pieces
            if not _is_stain(piece, tone, behind, ground)
        ]
    return found


def _shared_out(seen: Floats, around: Mask, outside: Floats, tones: list[Floats]) -> list[_Share]:
    """The pieces that have each of the colours; colours of which there is no piece are left
    out."""
    if not tones:
        return []
    away = np.stack([np.linalg.norm(seen - tone, axis=2) for tone in tones])
    own = np.where(around & (away.min(axis=0) < outside), np.argmin(away, axis=0), -1)
    pieces = [[each for each in _connected(own == n) if _is_thing(each)] for n in range(len(tones))]
    return [(tone, held) for tone, held in zip(tones, pieces, strict=True) if held]


def _is_blend(number: int, shares: list[_Share], small: Floats, ground: Ground) -> bool:
    """Whether a colour is only there where another one mixes with what is behind it, as in the
    corners of a blurred star; or is the background itself with a tinge, as in a small ring."""
    held = np.any(shares[number][1], axis=0)
    depths = [max(_depth(piece) for piece in pieces) for _, pieces in shares]
    most = 0.95 if depths[number] < _MIXED * _SIDE else _TINGE
    behind, tone = (np.median(each[held], axis=0) for each in (ground.surface, small))
    for n, (_, others) in enumerate(shares):
        other = np.any(others, axis=0)
        if n == number or (most > _TINGE and depths[n] <= depths[number]):
            continue
        # Light mixes along a straight line in RGB.
        way = np.median(small[other], axis=0) - behind
        part = float((tone - behind) @ way / max(float(way @ way), 1.0))
        off = float(np.linalg.norm(tone - behind - part * way))
        if part < most and off < _OFF_THE_LINE:
            return True
    return False


def _is_stain(piece: Mask, tone: Floats, behind: Floats, ground: Ground) -> bool:
    """Whether it is the background in a slightly other shade."""
    away = float(np.linalg.norm(tone - np.median(behind[piece], axis=0)))
    return away < _STAIN and colours.name(tone) in ground.names


def _core(part: Mask) -> Mask:
    """Its pixels without those at its edge, which are mixed with what is behind."""
    deep = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(deep >= min(4.0, 0.6 * float(deep.max())))


def _tones(seen: Floats, *, one: bool) -> list[Floats]:
    """The colours that a connected part consists of (pixels x 3), the commonest first."""
    if one:
        return [np.median(seen, axis=0)]
    tones: list[Floats] = []
    left, least = seen, max(30, len(seen) // 20)
    while len(left) > least and len(tones) < 4:
        boxes, counts = np.unique((left // 12).astype(int), axis=0, return_counts=True)
        tone = (boxes[np.argmax(counts)] + 0.5) * 12
        for _ in range(3):
            near = np.linalg.norm(left - tone, axis=1) < _SAME
            if not near.any():
                break
            tone = np.median(left[near], axis=0)
        if all(np.linalg.norm(tone - other) > _SAME for other in tones):
            tones.append(tone.astype(np.float32))
        left = left[np.linalg.norm(left - tone, axis=1) >= _SAME]
    return tones or [np.median(seen, axis=0)]


def _connected(mask: Mask) -> list[Mask]:
    """Its connected parts, without specks."""
    count, labels, facts, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    least = _SPECK * _SIDE**2
    large = [n for n in range(1, count) if facts[n, cv2.CC_STAT_AREA] >= least]
    return [np.asarray(labels == n) for n in large]


def _is_thing(piece: Mask) -> bool:
    return _depth(piece) >= _THIN * _SIDE


def _depth(piece: Mask) -> float:
    """Half its thickness, in pixels."""
    left, top, width, height = cv2.boundingRect(piece.astype(np.uint8))
    padded = np.pad(piece[top : top + height, left : left + width], 1).astype(np.uint8)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max())


def _seen(piece: Mask, tone: NDArray[np.float32]) -> Seen:
    height, width = piece.shape
    found = templates.match(piece)
    return Seen(
        shape=found.shape,
        colour=colours.name(tone),
        x=(found.x + 0.5) / width,
        y=(found.y + 0.5) / height,
        radius=found.radius / min(width, height),
    )
