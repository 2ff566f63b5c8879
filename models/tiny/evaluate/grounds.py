"""What lies behind the things: found along the picture's edge, where no thing is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from models.tiny.evaluate import colours
from models.tiny.evaluate.colours import Floats
from models.tiny.scenes.plan import Backing

_FIRST, _LAST = 2, 7
"""The strips that are looked at, in pixels from the edge: the very edge of a decoded picture is
its worst part, and things keep three hundredths away from it."""
_OUTLIER = 40.0
"""A distance in RGB; what is farther off belongs to a thing that reaches the edge."""
_PRICES = {Backing.PLAIN: 0.0, Backing.GRADIENT: 3.0, Backing.TWO_TONE: 4.0}
"""How much better a fit must be for being less simple, in RGB."""
_SHARES = (0.25, 0.8)
_SLOPE = 1.08
"""How much lighter the near end of a table is than its far end, at the least."""
_BAND = 3
"""Pixels to each side of where two tones meet, in which they may be mixed."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A background. ``names`` are as in :class:`models.tiny.scenes.plan.Background`; ``surface``
    is it alone (height x width x 3, RGB); ``share`` its first colour's part, for two tones."""

    kind: Backing
    names: tuple[str, ...]
    upright: bool
    share: float
    surface: Floats


@dataclass(frozen=True, slots=True)
class _Fit:
    """A guess: ``line`` is points x 3, the background along one of the axes."""

    kind: Backing
    upright: bool
    line: Floats
    cost: float
    share: float = 1.0


def find(picture: Floats) -> Ground:
    """The background of a picture (height x width x 3, RGB), whatever lies on it."""
    fits = [_plain(picture)]
    for upright in (True, False):
        samples = _samples(picture, upright)
        length = picture.shape[0 if upright else 1]
        fits += [_gradient(samples, upright, length), _two_tone(samples, upright, length)]
    best = min(fits, key=lambda fit: fit.cost + _PRICES[fit.kind])
    names = _names(best)
    if len(set(names)) == 1:
        best, names = fits[0], names[:1]
    line = best.line[:, None] if best.upright else best.line[None]
    surface = np.broadcast_to(line, picture.shape).astype(np.float32)
    return Ground(_kind(best), names, best.upright, best.share, surface)


def _samples(picture: Floats, upright: bool) -> tuple[Floats, Floats]:
    """Where along the axis (0 to 1) the edge has which colour."""
    turned = picture if upright else picture.transpose(1, 0, 2)
    length, across = turned.shape[:2]
    along = _along(length)
    near, far = slice(_FIRST, _LAST), slice(-_LAST, -_FIRST)
    sides = [np.median(turned[:, part], axis=1) for part in (near, far)]
    ends = [np.median(turned[part], axis=0) for part in (near, far)]
    depth = (_FIRST + _LAST) / 2 / length
    places = [along, along, np.full(across, depth), np.full(across, 1 - depth)]
    return np.concatenate(places).astype(np.float32), np.concatenate(sides + ends)


def _along(length: int) -> Floats:
    """The middles of so many pixels, from 0 to 1."""
    return ((np.arange(length) + 0.5) / length).astype(np.float32)


def _cost(away: Floats) -> float:
    return float(np.minimum(away, _OUTLIER).mean())


def _plain(picture: Floats) -> _Fit:
    _, seen = _samples(picture, True)
    colour = np.median(seen, axis=0)
    line = np.broadcast_to(colour, (picture.shape[0], 3)).astype(np.float32)
    return _Fit(Backing.PLAIN, True, line, _cost(np.linalg.norm(seen - colour, axis=1)))


def _gradient(samples: tuple[Floats, Floats], upright: bool, length: int) -> _Fit:
    """A straight line of least absolute deviations, bent to what is seen along it."""
    places, seen = samples
    terms = np.stack([np.ones_like(places), places], axis=1)
    weights = np.ones_like(places)
    for _ in range(8):
        scaled = terms * weights[:, None]
        ends, *_ = np.linalg.lstsq(scaled, seen * weights[:, None], rcond=None)
        away = np.linalg.norm(seen - terms @ ends, axis=1)
        # The square root of the weight goes into both sides of the equation.
        weights = np.sqrt(1 / np.maximum(away, 3)) * (away < 2 * _OUTLIER) + 1e-3
    along = _along(length)
    line = ends[0] + along[:, None] * ends[1] + _bend(places, seen - terms @ ends, along)
    return _Fit(Backing.GRADIENT, upright, line.astype(np.float32), _cost(away))


def _bend(places: Floats, left: Floats, along: Floats) -> Floats:
    """How far the colours leave the straight line on their way, points x 3."""
    near = np.linalg.norm(left, axis=1) < _OUTLIER
    edges = np.linspace(0, 1, 13)
    knots, values = [], []
    for first, last in itertools.pairwise(edges):
        inside = near & (places >= first) & (places < last)
        if inside.sum() >= 8:
            knots.append((first + last) / 2)
            values.append(np.median(left[inside], axis=0))
    if not knots:
        return np.zeros((len(along), 3), np.float32)
    table = np.array(values)
    bent = [np.interp(along, knots, table[:, channel]) for channel in range(3)]
    return np.stack(bent, axis=1).astype(np.float32)


def _two_tone(samples: tuple[Floats, Floats], upright: bool, length: int) -> _Fit:
    """Two tones that meet where both sides of the picture change most; the second may become
    lighter or darker on its way."""
    places, seen = samples
    share = _step(seen[:length], seen[length : 2 * length]) / length
    along = _along(length)
    first = np.median(seen[places < share], axis=0)
    second = _leaning(places[: 2 * length], seen[: 2 * length], share, along)
    line = np.clip(np.where((along < share)[:, None], first, second), 0, 255)
    at = np.clip(np.rint(places * length - 0.5).astype(int), 0, length - 1)
    away = np.linalg.norm(seen - line[at], axis=1)
    mixed = np.abs(places - share) * length < _BAND
    cost = _cost(np.where(mixed, 0, away))
    return _Fit(Backing.TWO_TONE, upright, line.astype(np.float32), cost, share)


def _step(*sides: Floats) -> int:
    """Where all of the sides (points x 3) change most, within what a share can be."""
    reach = 5
    changes = []
    for side in sides:
        sums = np.cumsum(np.pad(side, ((1, 0), (0, 0))), axis=0)
        means = (sums[reach:] - sums[:-reach]) / reach
        changes.append(np.linalg.norm(means[reach:] - means[:-reach], axis=1))
    length = len(sides[0])
    low, high = (round(share * length) - reach for share in _SHARES)
    return int(np.argmax(np.min(changes, axis=0)[low:high])) + low + reach


def _leaning(places: Floats, seen: Floats, share: float, along: Floats) -> Floats:
    """The second tone along the axis (points x 3): as its two halves look, and straight on. A
    table becomes lighter on its way to whoever looks."""
    quarter = (1 - share) / 4
    inside = (places > share + 0.01) & (places < 0.99)
    far = np.median(seen[inside & (places < share + 2 * quarter)], axis=0)
    near = np.median(seen[inside & (places >= share + 2 * quarter)], axis=0)
    if np.linalg.norm(near - far) > _OUTLIER:  # something reaches the edge there
        far = near = np.median(seen[inside], axis=0)
    way = (along - share - quarter) / (2 * quarter)
    return np.asarray(far + way[:, None] * (near - far), np.float32)


def _kind(fit: _Fit) -> Backing:
    if fit.kind is not Backing.TWO_TONE or not fit.upright:
        return fit.kind
    cut = int(fit.share * len(fit.line)) + _BAND
    far, near = fit.line[cut].mean(), fit.line[-1].mean()
    return Backing.TABLE if near / max(far, 1.0) > _SLOPE and near - far > 6 else fit.kind


def _names(fit: _Fit) -> tuple[str, ...]:
    if fit.kind is Backing.PLAIN:
        return (colours.name(colours.lab(fit.line[0])),)
    if fit.kind is Backing.GRADIENT:
        ends = fit.line[[0, -1]]
    else:
        cut = int(fit.share * len(fit.line))
        ends = np.stack([np.median(part, axis=0) for part in (fit.line[:cut], fit.line[cut:])])
    return tuple(colours.name(place) for place in colours.lab(ends))


def distance(picture: Floats, ground: Ground) -> Floats:
    """How far every pixel is from the background alone, in Delta E (height x width)."""
    seen, behind = colours.lab(picture), colours.lab(ground.surface)
    away = np.asarray(np.linalg.norm(seen - behind, axis=2), np.float32)
    if ground.kind not in (Backing.TWO_TONE, Backing.TABLE):
        return away
    length = picture.shape[0 if ground.upright else 1]
    cut = ground.share * length
    low, high = max(0, int(cut) - _BAND), min(length - 1, int(cut) + _BAND)
    band = np.s_[low : high + 1] if ground.upright else np.s_[:, low : high + 1]
    ends = [(behind[low], behind[high])] if ground.upright else [(behind[:, low], behind[:, high])]
    for first, second in ends:
        axis = 0 if ground.upright else 1
        first, second = np.expand_dims(first, axis), np.expand_dims(second, axis)
        way = second - first
        part = ((seen[band] - first) * way).sum(axis=2) / np.maximum((way**2).sum(axis=2), 1e-6)
        mixed = first + np.clip(part, 0, 1)[..., None] * way
        away[band] = np.minimum(away[band], np.linalg.norm(seen[band] - mixed, axis=2))
    return away
