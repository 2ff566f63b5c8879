"""Where the thing is that a picture is about, without a network: robust background detection
(Zhu, Liang, Wei and Sun, "Saliency Optimization from Robust Background Detection", 2014).

A region belongs to the background as far as it can be reached from the picture's edge
through regions of like colour; what differs from the background, is near it and is in the
middle stands out. One linear system over the regions settles both.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import spsolve
from skimage.segmentation import slic

from models.parts.pictures import Pixels

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

REGIONS = 320
_COLOUR_SIGMA = 10.0
"""In units of Lab: how alike two colours must be to count as one surface."""
_PLACE_SIGMA = 0.3
"""As a share of the picture: how far away a region may be to count as a neighbour."""


def saliency(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each pixel stands out, height x width, 0 to 1.

    ``lab`` is a small picture in CIE Lab (some hundred pixels a side), height x width x 3.
    """
    labels = _regions(lab)
    count = int(labels.max()) + 1
    if count < 3:
        return np.zeros(labels.shape, np.float32)
    sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    colours = np.stack(
        [np.bincount(labels.ravel(), lab[..., c].ravel(), count) / sizes for c in range(3)], axis=1
    )
    places = _places(labels, sizes)
    neighbours = _neighbours(labels)
    at_edge = _at_edge(labels, count)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    background = _background(apart, neighbours, at_edge)
    contrast = _contrast(apart, places, background)
    strength = _settled(apart, neighbours, background, contrast)
    return strength[labels].astype(np.float32)


def _regions(lab: NDArray[np.float32]) -> Labels:
    found = slic(
        lab / 100, n_segments=REGIONS, compactness=0.12, convert2lab=False, start_label=0, sigma=1
    )
    return np.unique(found, return_inverse=True)[1].reshape(found.shape)


def _places(labels: Labels, sizes: Floats) -> Floats:
    height, width = labels.shape
    y, x = np.mgrid[0:height, 0:width]
    flat = labels.ravel()
    across = np.bincount(flat, x.ravel(), len(sizes)) / sizes / max(1, width - 1)
    down = np.bincount(flat, y.ravel(), len(sizes)) / sizes / max(1, height - 1)
    return np.stack([across, down], axis=1)


def _neighbours(labels: Labels) -> Labels:
    """Pairs of regions that touch, pairs x 2."""
    beside = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1)
    below = np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1)
    pairs = np.concatenate([beside, below])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def _at_edge(labels: Labels, count: int) -> NDArray[np.bool_]:
    out = np.zeros(count, bool)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        out[line] = True
    return out


def _background(apart: Floats, neighbours: Labels, at_edge: NDArray[np.bool_]) -> Floats:
    """How surely each region is background, 0 to 1 (the paper's boundary connectivity)."""
    count = len(apart)
    first, second = neighbours.T
    steps = apart[first, second]
    # Differences within a surface are not a way out of it.
    nearest = np.full(count, np.inf)
    np.minimum.at(nearest, first, steps)
    np.minimum.at(nearest, second, steps)
    steps = np.maximum(0, steps - np.mean(nearest[np.isfinite(nearest)]))
    edge = np.flatnonzero(at_edge)
    # All of the edge is one place: a wall and a table may both be behind the thing.
    i, j = np.triu_indices(len(edge), 1)
    rows = np.concatenate([first, edge[i]])
    columns = np.concatenate([second, edge[j]])
    links = np.maximum(0, apart[edge[i], edge[j]] - np.mean(nearest[np.isfinite(nearest)]))
    costs = np.concatenate([steps, links]) + 1e-6
    graph = coo_array((costs, (rows, columns)), shape=(count, count)).tocsr()
    away = dijkstra(graph, directed=False)
    near = np.exp(-(away**2) / (2 * _COLOUR_SIGMA**2))
    length = near[:, at_edge].sum(axis=1)
    connected = length / np.sqrt(near.sum(axis=1))
    return np.asarray(1 - np.exp(-(connected**2) / 2))


def _contrast(apart: Floats, places: Floats, background: Floats) -> Floats:
    """How much each region differs from the background near it, 0 to 1."""
    distance = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    near = np.exp(-distance / (2 * _PLACE_SIGMA**2))
    contrast = (apart * near * background[None]).sum(axis=1)
    middle = np.exp(-((places - 0.5) ** 2).sum(axis=1) / (2 * 0.35**2))
    contrast *= middle
    span = contrast.max() - contrast.min()
    return np.asarray((contrast - contrast.min()) / span if span > 0 else np.zeros_like(contrast))


def _settled(apart: Floats, neighbours: Labels, background: Floats, contrast: Floats) -> Floats:
    """The strengths that agree best with background, contrast and like neighbours."""
    count = len(apart)
    first, second = neighbours.T
    alike = np.exp(-(apart[first, second] ** 2) / (2 * _COLOUR_SIGMA**2)) + 0.1
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    weights = np.concatenate([alike, alike])
    own = np.bincount(rows, weights, count) + background + contrast + 1e-6
    here = np.arange(count)
    places = np.concatenate([rows, here]), np.concatenate([columns, here])
    system = coo_array((np.concatenate([-weights, own]), places), shape=(count, count)).tocsc()
    return np.asarray(np.clip(spsolve(system, contrast), 0, 1))


def small_lab(colours: Pixels, side: int) -> NDArray[np.float32]:
    """A picture (height x width x 3) in Lab, no longer than ``side``, its noise taken out."""
    height, width = colours.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(np.asarray(small, np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    return np.asarray(lab, np.float32)
