"""A picture in overlapping tiles, for work whose memory grows with the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.parts.pictures import Pixels, Rows


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the tiles of a picture lie, in its own pixels.

    Neighbours share ``overlap`` pixels or more; every tile is as large as the others, except
    where the picture is smaller than a tile.
    """

    width: int
    height: int
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.overlap <= self.tile:
            raise ValueError(f"tiles of {self.tile} cannot overlap by {self.overlap}")

    @property
    def lefts(self) -> list[int]:
        """The left edge of each column."""
        return _starts(self.width, self.tile, self.overlap)

    @property
    def tops(self) -> list[int]:
        """The top edge of each row."""
        return _starts(self.height, self.tile, self.overlap)

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self.lefts) * len(self.tops)


def enlarged(picture: Pixels, scale: int, grid: Grid, work: Callable[[Pixels], Pixels]) -> Rows:
    """The picture with every tile put through ``work``, ``scale`` times as large.

    ``work`` gets height x width x channels and gives the same ``scale`` times as high and
    wide, uint8. Where tiles overlap, one fades evenly into the other. The rows are computed
    when they are read, and no more of the result than one row of tiles is held.
    """
    height, width, channels = picture.shape
    strips = _strips(picture, scale, grid, work)
    return Rows(width * scale, height * scale, channels, strips)


def whole(rows: Rows) -> Pixels:
    """The rows in one array that is allocated once."""
    out = np.empty((rows.height, rows.width, rows.channels), np.uint8)
    top = 0
    for strip in rows.strips:
        out[top : top + len(strip)] = strip
        top += len(strip)
    return out


def _strips(
    picture: Pixels, scale: int, grid: Grid, work: Callable[[Pixels], Pixels]
) -> Iterator[Pixels]:
    tops = grid.tops
    kept: Pixels | None = None  # the last rows of the row before, not given out yet
    for index, top in enumerate(tops):
        strip = _row_of_tiles(picture[top : top + grid.tile], scale, grid, work)
        if kept is not None:
            _fade(kept, strip[: len(kept)], axis=0)
        following = tops[index + 1] if index + 1 < len(tops) else None
        ready = len(strip) if following is None else (following - top) * scale
        yield strip[:ready]
        kept = strip[ready:].copy()


def _row_of_tiles(band: Pixels, scale: int, grid: Grid, work: Callable[[Pixels], Pixels]) -> Pixels:
    height, width, channels = band.shape
    out = np.empty((height * scale, width * scale, channels), np.uint8)
    done = 0
    for left in grid.lefts:
        part = np.ascontiguousarray(band[:, left : left + grid.tile])
        made = work(part)
        expected = (part.shape[0] * scale, part.shape[1] * scale, channels)
        if made.shape != expected:
            raise ValueError(f"a tile came out as {made.shape} instead of {expected}")
        start = left * scale
        if done > start:
            made = made.copy()
            _fade(out[:, start:done], made[:, : done - start], axis=1)
        done = start + made.shape[1]
        out[:, start:done] = made
    return out


def _fade(old: Pixels, new: Pixels, axis: int) -> None:
    """Blend ``old`` into ``new`` along an axis, in place: at the start the old one counts."""
    length = new.shape[axis]
    share: NDArray[np.float32] = (np.arange(length, dtype=np.float32) + 0.5) / length
    share = share.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    new[...] = np.rint(old + share * (new.astype(np.float32) - old))


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Evenly spread starts of as few tiles as cover the length."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]
