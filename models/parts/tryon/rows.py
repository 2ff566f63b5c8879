"""Outlines by rows: how wide a figure or a garment is at each height, and what is between."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

GAP_MIN = 0.04
"""A gap that is a smaller share of a row's width is a fold, and not what is between legs."""


@dataclass(frozen=True, slots=True)
class Rails:
    """Four columns for each of some rows: the left edge, the edges of what is between two
    legs (the same twice where there is no gap), and the right edge; rows x 4, in pixels."""

    columns: Floats

    @property
    def left(self) -> Floats:
        """The left edge of each row."""
        return self.columns[:, 0]

    @property
    def right(self) -> Floats:
        """The right edge of each row."""
        return self.columns[:, 3]

    @property
    def middle(self) -> Floats:
        """The middle between the outer edges."""
        return (self.left + self.right) / 2

    @property
    def width(self) -> Floats:
        """From edge to edge."""
        return self.right - self.left

    def split(self) -> NDArray[np.bool_]:
        """The rows that have a gap."""
        gap = self.columns[:, 2] - self.columns[:, 1]
        return np.asarray(gap > GAP_MIN * np.maximum(self.width, 1))

    def at(self, places: Floats) -> Floats:
        """The columns at fractional rows, n x 4."""
        rows = np.arange(len(self.columns))
        return np.stack([np.interp(places, rows, line) for line in self.columns.T], axis=1)

    def joined(self) -> Rails:
        """Without the gap, as of a skirt over two legs."""
        middle = self.middle
        return Rails(np.stack([self.left, middle, middle, self.right], axis=1))

    def smoothed(self, rows: float) -> Rails:
        """With less unsteady lines."""
        if rows <= 0 or len(self.columns) < 3:
            return self
        lines = np.ascontiguousarray(self.columns)
        made = cv2.GaussianBlur(lines, (1, 0), 1, sigmaY=rows, borderType=cv2.BORDER_REPLICATE)
        return Rails(np.asarray(made, np.float64).reshape(lines.shape))


def rails(mask: Mask, centre: float, legs: bool) -> Rails:
    """The rails of a mask's rows around a column.

    Of each row it takes the run that is there, or the nearest; where ``legs`` is set, the two
    runs to the left and to the right of the column. A row without any is like the one above.
    """
    out = np.zeros((len(mask), 4))
    known = np.array([centre - 1, centre, centre, centre + 1], np.float64)
    for index, row in enumerate(mask):
        runs = _runs(row)
        if len(runs):
            known = _four(runs, centre, legs)
        out[index] = known
    return Rails(out)


def central_run(mask: Mask, centre: float) -> Mask:
    """Of each row only the run at a column, or the nearest to it."""
    out = np.zeros_like(mask)
    for index, row in enumerate(mask):
        runs = _runs(row)
        if len(runs):
            start, stop = runs[_nearest(runs, centre)]
            out[index, start:stop] = True
    return out


def disc(pixels: float) -> NDArray[np.uint8]:
    """A disc of about this diameter, at least 3, for opening and closing masks."""
    side = 2 * max(1, round((pixels - 1) / 2)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _runs(row: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Starts and ends (exclusive) of what is set, n x 2."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    return edges.reshape(-1, 2)


def _nearest(runs: NDArray[np.int64], centre: float) -> int:
    away = np.maximum(np.maximum(runs[:, 0] - centre, centre - runs[:, 1] + 1), 0)
    # Of two that are as near, the wider.
    return int(np.lexsort((runs[:, 0] - runs[:, 1], away))[0])


def _four(runs: NDArray[np.int64], centre: float, legs: bool) -> Floats:
    if not legs or len(runs) == 1:
        start, stop = runs[_nearest(runs, centre)]
        between = float(np.clip(centre, start, stop))
        return np.array([start, between, between, stop], np.float64)
    wide = runs[np.sort(np.argsort(runs[:, 0] - runs[:, 1], kind="stable")[:2])]
    return wide.astype(np.float64).ravel()


def largest(mask: Mask) -> Mask:
    """The largest of a mask's connected parts; the others are specks that were mistaken."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    sizes = np.bincount(labels.ravel(), minlength=count)
    sizes[0] = 0
    return np.asarray((labels == sizes.argmax()) & mask)
