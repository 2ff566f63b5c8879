"""Face restoration by GFPGAN, CodeFormer or RestoreFormer on the aligned face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from farm.errors import EngineFault
from farm.types import RunRequest
from models import weights
from models.base import CPU
from models.parts.faces import Pose, no_face
from models.parts.memory import released
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, flattened, joined, open_input, split
from models.parts.spandrel_net import Net, open_net
from models.parts.yunet import FaceFinder

DETECTOR, RESTORER = "detector", "restorer"

HOW: Mapping[str, Mapping[str, Any]] = {
    # Its noise is the one it was trained with, not a new one in each run.
    "GFPGAN": {"return_rgb": False, "randomize_noise": False},
    # Half way between what the face is and what a face should be, as its authors set it.
    "CodeFormer": {"weight": 0.5},
    "RestoreFormer": {},
}
"""What each network's forward takes beside the face; the names are spandrel's."""

POINTS_APART_MIN = 4.0
"""Pixels between a face's outermost points; of a smaller one nothing can be restored."""


class FaceRestorerEngine(PictureEngine[Image.Image]):
    """Every face is found, brought into the pose that the network was trained on, restored
    and put back with a fading edge; nothing else changes, nor does an alpha channel.

    Wang et al., 2021 (GFPGAN, arXiv:2101.04061); Zhou et al., 2022 (CodeFormer,
    arXiv:2206.11253); Wang et al., 2022 (RestoreFormer, arXiv:2201.06374). A face is restored
    at 512 pixels: one that is larger in the picture comes back no sharper than that.
    """

    operation = "restore-face"

    _finder: FaceFinder | None = None
    _net: Net | None = None
    _how: Mapping[str, Any] = {}

    def _read(self, request: RunRequest) -> Image.Image:
        return open_input(request, "image")

    def _steps(self, work: Image.Image) -> int:
        return FaceFinder.stages(work.width, work.height) + 1

    def _edit(self, work: Image.Image, stages: Stages) -> Edited:
        assert self._finder is not None
        colours, alpha = split(work)
        seen = flattened(colours, alpha)
        poses = [
            Pose.of(face.points)
            for face in self._finder.faces(seen, stages.done)
            if np.ptp(face.points, axis=0).max() >= POINTS_APART_MIN
        ]
        if not poses:
            no_face(
                "Faces must be seen from the front or half from the side, and be at least "
                "some 20 pixels wide."
            )
        stages.total += len(poses) - 1
        made = colours.copy()
        for pose in poses:
            pose.put_back(self._restored(pose.cut(seen)), made)
            stages.done()
        return Edited(Rows.of(joined(made, alpha)), {"faces": len(poses)})

    def _restored(self, face: Pixels) -> Pixels:
        assert self._net is not None
        # spandrel's own call hands values from 0 to 1 to networks trained on -1 to 1.
        with torch.inference_mode():
            made = self._net.descriptor.model(self._net.tensor(face) * 2 - 1, **self._how)[0]
            return self._net.pixels((made + 1) / 2)

    def _open(self, device: str) -> None:
        self._finder = FaceFinder(weights.locate(self._setup, DETECTOR).path)
        self._finder.load()
        path = weights.locate(self._setup, RESTORER).path
        net = open_net(path, device, purpose="FaceSR", extra=True)
        name = net.descriptor.architecture.name
        if name not in HOW:
            raise EngineFault(
                f"{path} holds a {name} network; faces are restored by {', '.join(HOW)}."
            )
        self._net, self._how = net, HOW[name]

    def _close(self) -> None:
        if self._finder is not None:
            self._finder.unload()
        self._finder, self._net = None, None
        released()

    def _resident(self) -> int:
        if self._net is None or self._finder is None:
            return 0
        on_cpu = self._net.device == CPU
        return self._net.resident_bytes + (self._finder.loaded_bytes if on_cpu else 0)
