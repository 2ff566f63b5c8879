"""Upscaling by Real-ESRGAN (Wang et al., 2021, arXiv:2107.10833)."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from farm.errors import EngineFault, FieldError, InvalidRequest
from farm.types import RunRequest
from models import weights
from models.base import CPU
from models.parts.hidden import bled
from models.parts.memory import released
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, joined, open_input, split
from models.parts.spandrel_net import Net, open_net
from models.parts.tiles import Grid, enlarged

PART = "upscaler"
SCALE = 4
TILE, TILE_ON_CPU = 512, 192
"""Pixels of a tile's side: the widest layer then takes 0.5 GiB on a GPU, in half precision,
and 0.15 GiB on a CPU."""
OVERLAP = 32
"""Pixels that two tiles share: what a tile's own edge does to the network fades out there."""


class RealEsrganEngine(PictureEngine[Image.Image]):
    """Four times the width and the height, in overlapping tiles.

    Rows of tiles are computed while the file is written, so that memory does not grow with
    the picture's height. An alpha channel is enlarged by Lanczos resampling; behind it, clear
    pixels first take the colour of the nearest that shows, so that no fringe appears.
    """

    operation = "upscale"
    parameters = ("scale",)

    _net: Net | None = None

    def _read(self, request: RunRequest) -> Image.Image:
        if request.params.get("scale", SCALE) != SCALE:
            raise InvalidRequest([FieldError("scale", f"must be {SCALE}.")])
        return open_input(request, "image")

    def _steps(self, work: Image.Image) -> int:
        return self._grid(work).count

    def _edit(self, work: Image.Image, stages: Stages) -> Edited:
        def tile(part: Pixels) -> Pixels:
            made = self._enlarge(part)
            stages.done()
            return made

        return Edited(enlarged(joined(*split(work)), SCALE, self._grid(work), tile))

    def _grid(self, work: Image.Image) -> Grid:
        on_cpu = self._net is None or self._net.device == CPU
        return Grid(work.width, work.height, TILE_ON_CPU if on_cpu else TILE, OVERLAP)

    def _enlarge(self, part: Pixels) -> Pixels:
        assert self._net is not None
        alpha = part[..., 3] if part.shape[2] == 4 else None
        colours = bled(part[..., :3], alpha)
        with torch.inference_mode():
            made = self._net.pixels(self._net.descriptor(self._net.tensor(colours)))
        if alpha is None:
            return made
        size = (made.shape[1], made.shape[0])
        wide = Image.fromarray(alpha).resize(size, Image.Resampling.LANCZOS)
        return np.dstack([made, np.asarray(wide)])

    def _open(self, device: str) -> None:
        path = weights.locate(self._setup, PART).path
        net = open_net(path, device, purpose="SR")
        found = net.descriptor
        if (found.scale, found.input_channels, found.output_channels) != (SCALE, 3, 3):
            raise EngineFault(
                f"{path} enlarges {found.scale} times, from {found.input_channels} channels to "
                f"{found.output_channels}. Put a network there that enlarges colours 4 times."
            )
        self._net = net

    def _close(self) -> None:
        self._net = None
        released()

    def _resident(self) -> int:
        return self._net.resident_bytes if self._net else 0
