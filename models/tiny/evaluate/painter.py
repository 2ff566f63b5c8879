"""Questions painted by an engine on its tiny checkpoint, opened as a worker opens it."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from farm.types import Artifact, RunRequest
from models import registry
from models.base import TINY, Engine, Source
from models.tiny.evaluate.prompts import Question
from models.tiny.scenes.draw import Pixels


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is asked: the picture's sides in pixels, its steps, and its guidance."""

    width: int
    height: int
    steps: int
    guidance: float


USUAL: Mapping[str, tuple[int, float]] = MappingProxyType(
    {"sdxl": (30, 7.5), "flux-schnell": (4, 0.0), "flux-dev": (28, 3.5)}
)
"""Steps and guidance by model: what the catalogue gives a job that asks for none."""


@dataclass(frozen=True, slots=True)
class _Nowhere:
    """Stands for the hub repository of the real weights, which nobody asks for here."""

    hub_id: str = ""
    revision: str = ""
    variant: str | None = None
    layout: str = "pipeline"
    files: tuple[str, ...] = ()
    only_with: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Card:
    """What the registry reads of a model's card."""

    id: str
    weights: Mapping[str, Source] = field(default_factory=lambda: {"pipeline": _Nowhere()})
    options: Mapping[str, str] = field(default_factory=dict)

    def served_by(self, weights: str) -> str:
        return f"{self.id}-{weights}"


class Painter:
    """A loaded engine that paints questions."""

    def __init__(self, engine: Engine, model: str, settings: Settings) -> None:
        self._engine, self._model, self._settings = engine, model, settings

    def __call__(self, question: Question) -> Pixels:
        """The question's picture (height x width x 3, sRGB).

        Raises:
            FarmError: as :meth:`models.base.Engine.run` does.
        """
        wanted = self._settings
        params = {
            "prompt": question.prompt,
            "width": wanted.width,
            "height": wanted.height,
            "steps": wanted.steps,
            "seed": question.seed,
            "guidance_scale": wanted.guidance,
        }
        request = RunRequest(uuid.uuid4(), 1, self._model, "generate", params)
        [artifact] = self._engine.run(request, lambda step, steps: None)
        return _pixels(artifact)


@contextmanager
def opened(model: str, settings: Settings, cache: Path | None, device: str) -> Iterator[Painter]:
    """A model's tiny checkpoint, loaded onto ``cpu`` or ``cuda:<n>`` as long as it is held; it is
    built in ``cache`` first where it is not there.

    Raises:
        FarmError: there is no such engine, a package is missing, or it could not be loaded.
    """
    engine = registry.create(_Card(model), TINY, cache=cache)
    try:
        engine.load(device)
        yield Painter(engine, model, settings)
    finally:
        engine.unload()


def _pixels(artifact: Artifact) -> Pixels:
    form = artifact.media_type.removeprefix("image/")
    with Image.open(io.BytesIO(artifact.data), formats=[form]) as image:
        return np.asarray(image.convert("RGB"))
