"""Background removal by BiRefNet (Zheng et al., 2024, arXiv:2401.03407)."""

from __future__ import annotations

from PIL import Image

from farm.types import RunRequest
from models import weights
from models.parts import encoding
from models.parts.birefnet import BirefnetMatter
from models.parts.matting import cut_out
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Rows, open_input

PART = "matting"


class BirefnetEngine(PictureEngine[Image.Image]):
    """The thing that a picture is about, on a transparent ground, as large as the picture.

    A picture that was cut out before keeps its own alpha; other transparency stays too.
    """

    operation = "remove-background"
    formats = (encoding.PNG, encoding.WEBP)  # what has an alpha channel

    _matter: BirefnetMatter | None = None

    def _read(self, request: RunRequest) -> Image.Image:
        return open_input(request, "image")

    def _steps(self, work: Image.Image) -> int:
        return BirefnetMatter.stages

    def _edit(self, work: Image.Image, stages: Stages) -> Edited:
        assert self._matter is not None
        return Edited(Rows.of(cut_out(work, self._matter, stages.done)))

    def _open(self, device: str) -> None:
        self._matter = BirefnetMatter(weights.locate(self._setup, PART).path)
        self._matter.load(device)

    def _close(self) -> None:
        if self._matter is not None:
            self._matter.unload()
        self._matter = None

    def _resident(self) -> int:
        return self._matter.resident_bytes if self._matter else 0
