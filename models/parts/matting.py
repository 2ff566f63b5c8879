"""Cutting a thing out of its picture: who finds the alpha, and clean colours at its edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.parts.pictures import Pixels, flattened, split

OnStage = Callable[[], None]
"""Called before the work and between its stages; what it raises ends the work."""

BLEED_PIXELS = 8
"""Colours reach this far into the transparent part, so that a viewer that scales the picture
without weighing by alpha mixes in no black."""

_COARSE, _FINE = 90, 6


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
    the foreground; once widely, once finely.
    """
    soft = _near_edge(alpha)
    if not soft.any():
        return np.dstack([np.where(alpha[..., None] > 0, colours, 0).astype(np.uint8), alpha])
    top, bottom, left, right = _box(soft, 2 * _COARSE)
    part = colours[top:bottom, left:right].astype(np.float32)
    share = alpha[top:bottom, left:right, None].astype(np.float32) / np.float32(255)
    front, back = part, part
    for radius in (_COARSE, _FINE):
        front, back = _layers(part, front, back, share, radius)
    out = np.dstack([np.where(alpha[..., None] > 0, colours, 0).astype(np.uint8), alpha])
    inner = soft[top:bottom, left:right]
    out[top:bottom, left:right, :3][inner] = np.clip(np.rint(front[inner]), 0, 255)
    return out


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
    return np.clip(mean_front + share * rest, 0, 255), mean_back


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


def _box(mask: NDArray[np.bool_], margin: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is set, and ``margin`` pixels around it."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = max(0, int(ys[0]) - margin), max(0, int(xs[0]) - margin)
    bottom = min(mask.shape[0], int(ys[-1]) + 1 + margin)
    return top, bottom, left, min(mask.shape[1], int(xs[-1]) + 1 + margin)


def _is_cut_out(alpha: Pixels) -> bool:
    """True where at least half of the picture's edge is transparent."""
    edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    return bool(np.median(edge) < 128)
