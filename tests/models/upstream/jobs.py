"""Jobs for the engine of hosted models, as a worker hands them on."""

from __future__ import annotations

import io
import uuid
from typing import Any

from PIL import Image

from farm.catalog import built_in_catalog
from farm.types import Artifact, RunRequest
from models import registry
from models.base import UpstreamSetup
from models.engines.upstream import UpstreamEngine

KEY = "sk-a-key-of-the-farm-0123456789"
CARD = built_in_catalog().models["gpt-image-2"]


def ignore(step: int, steps: int) -> None:
    """An on_step for a job that nobody watches."""


def engine_of(setup: UpstreamSetup, interrupts: tuple[type[Exception], ...] = ()) -> UpstreamEngine:
    """The engine, loaded."""
    made = registry.create(CARD, "tiny", interrupts=interrupts, upstream=setup)
    assert isinstance(made, UpstreamEngine)
    made.load("cpu")
    return made


def job(**params: Any) -> RunRequest:
    given = {"prompt": "a red fox", "seed": 7, "width": 64, "height": 48} | params
    return RunRequest(
        uuid.uuid4(), 1, CARD.id, "generate", {n: v for n, v in given.items() if v is not None}
    )


def tiff(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    return buffer.getvalue()


def edit(*images: Image.Image, mask: Image.Image | None = None) -> RunRequest:
    names = ("image", "image_2", "image_3", "image_4")
    inputs = {name: tiff(image) for name, image in zip(names, images, strict=False)}
    inputs |= {} if mask is None else {"mask": tiff(mask)}
    params = {"prompt": "make it blue", "seed": 7}
    return RunRequest(uuid.uuid4(), 1, CARD.id, "edit", params, inputs)


def opened(artifact: Artifact) -> Image.Image:
    image = Image.open(io.BytesIO(artifact.data))
    image.load()
    return image
