"""Cutting a thing out of its picture: who finds the alpha, and clean colours at its edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.parts.pictures import Pixels, flattened, split

OnStage = Callable[[], None]
"""Called before the work and between its stages; what it raises ends the work."""

BLEED_PIXELS = 6
"""Colours reach this far into the transparent part, so that a viewer that scales the picture
without weighing by alpha mixes in no black. No farther than the fine radius: beyond it there
is nothing of the thing to take them from."""

_COARSE, _FINE, _FINE_ROUNDS = 90, 6, 3
"""Radii in pixels. The paper has one fine round; edges of ten pixels and more want three."""

_COARSE_SIDE = 1024
_BAND, _MARGIN = 512, 20


class Matter(Protocol):
    """Finds the thing that a picture is about.

    The order is ``load``, any number of ``alpha``, ``unload``; errors are the libraries' own,
    for the engine to map. ``stages`` is how often ``alpha`` calls ``on_stage``;
    ``resident_bytes`` is the device memory that ``load`` took, 0 while unloaded.
    """

    @property
    def name(self) -> str: ...
    @property
    def stages(self) -> int: ...
    @property
    def resident_bytes(self) -> int: ...

    def load(self, device: str) -> None:
        """Bring the weights onto the device; a no-op when loaded."""
        ...

    def alpha(self, image: Image.Image, on_stage: OnStage) -> Pixels:
        """The opacity of each pixel of an RGB picture, height x width: 255 is the thing."""
        ...

    def unload(self) -> None:
        """Give the memory back; a no-op when unloaded."""
        ...


def cut_out(image: Image.Image, matter: Matter, on_stage: OnStage) -> Pixels:
    """The thing alone: height x width x 4, as large as the picture (RGB, RGBA or L).

    What is transparent in the picture stays so. Where its edge is transparent already,
    somebody has cut the thing out before, and its alpha is kept as it is.
    """
    colours, before = split(image)
    if before is not None and _is_cut_out(before):
        for _ in range(matter.stages):
            on_stage()
        return np.asarray(image)
    flat = Image.fromarray(flattened(colours, before))
    alpha = matter.alpha(flat, on_stage)
    if before is not None:
        alpha = np.minimum(alpha, before)
    return decontaminated(colours, alpha)


def decontaminated(colours: Pixels, alpha: Pixels) -> Pixels:
    """Height x width x 4: the alpha, and the colours that the thing itself has at its soft
    edges, without the old background that shines through there.

    Approximate fast foreground colour estimation (Forte, 2021, arXiv:2006.14970, section 4):
    both layers are blurred, each weighed by its share, and what they do not explain goes to
    the foreground; once widely, on a smaller copy, then finely.
    """
    out = np.dstack([np.where(alpha[..., None] > 0, colours, 0).astype(np.uint8), alpha])
    soft = _near_edge(alpha)
    if not soft.any():
        return out
    height, width = alpha.shape
    factor = min(1.0, _COARSE_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small, share = _floats(
        *(cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (colours, alpha))
    )
    layers = _layers(small, small, small, share, max(1, round(_COARSE * factor)))
    front, back = (
        cv2.resize(np.asarray(np.rint(layer), np.uint8), (width, height)) for layer in layers
    )
    for top in range(0, height, _BAND):
        rows = slice(top, min(top + _BAND, height))
        if not soft[rows].any():
            continue
        wide = slice(max(0, rows.start - _MARGIN), min(height, rows.stop + _MARGIN))
        image, share = _floats(colours[wide], alpha[wide])
        layers = front[wide].astype(np.float32), back[wide].astype(np.float32)
        for _ in range(_FINE_ROUNDS):
            layers = _layers(image, *layers, share, _FINE)
        fine = layers[0][rows.start - wide.start :][: rows.stop - top]
        out[rows][..., :3][soft[rows]] = np.rint(fine)[soft[rows]]
    return out


def _floats(colours: Any, alpha: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours, 0 to 255, and alpha as a share, height x width x 1."""
    share = np.asarray(alpha, np.float32)[..., None] / np.float32(255)
    return np.asarray(colours, np.float32), share


def _layers(
    image: NDArray[np.float32],
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    share: NDArray[np.float32],
    radius: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One round: foreground and background colours, height x width x 3, 0 to 255."""
    mean_front = _mean(front * share, radius) / (_mean(share, radius) + 1e-5)
    mean_back = _mean(back * (1 - share), radius) / (_mean(1 - share, radius) + 1e-5)
    rest = image - share * mean_front - (1 - share) * mean_back
    return np.clip(mean_front + share * rest, 0, 255), np.clip(mean_back, 0, 255)


def _mean(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    side = 2 * radius + 1
    blurred = cv2.blur(values, (side, side), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32).reshape(values.shape)


def _near_edge(alpha: Pixels) -> NDArray[np.bool_]:
    """Pixels whose own colour is not to be trusted: soft ones, and clear ones beside them."""
    side = 2 * BLEED_PIXELS + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    reach = cv2.dilate(alpha, disc) > 0
    return np.asarray(reach & (alpha < 255))


def _is_cut_out(alpha: Pixels) -> bool:
    """True where at least half of the picture's edge is transparent."""
    edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    return bool(np.median(edge) < 128)
