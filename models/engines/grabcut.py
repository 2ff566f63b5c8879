"""Background removal by GrabCut (Rother et al., 2004): the CPU twin of BiRefNet."""

from __future__ import annotations

from PIL import Image

from farm.types import RunRequest
from models.base import EngineSetup
from models.parts import encoding
from models.parts.grabcut import GrabcutMatter
from models.parts.matting import cut_out
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Rows, open_input


class GrabcutEngine(PictureEngine[Image.Image]):
    """The thing that a picture is about, on a transparent ground, as large as the picture;
    see :mod:`models.parts.grabcut`.

    A picture that was cut out before keeps its own alpha; other transparency stays too. Where
    nothing stands out, the picture is left whole.
    """

    operation = "remove-background"
    formats = (encoding.PNG, encoding.WEBP)  # what has an alpha channel

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._matter = GrabcutMatter()

    def _read(self, request: RunRequest) -> Image.Image:
        return open_input(request, "image")

    def _steps(self, work: Image.Image) -> int:
        return self._matter.stages

    def _edit(self, work: Image.Image, stages: Stages) -> Edited:
        return Edited(Rows.of(cut_out(work, self._matter, stages.done)))
