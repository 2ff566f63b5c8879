"""The built-in tiny checkpoints: made where they are not there yet, the same bytes each time."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from farm.errors import WeightsMissing

_RECIPES = {
    ("sdxl", "pipeline"): "models.tiny.sdxl",
    ("flux-schnell", "pipeline"): "models.tiny.flux",
    ("flux-dev", "pipeline"): "models.tiny.flux_dev",
    ("flux-2", "pipeline"): "models.tiny.flux_2",
    ("flux-kontext", "pipeline"): "models.tiny.flux_kontext",
    ("replace-background", "pipeline"): "models.tiny.sdxl_inpaint",
    ("wan2.1", "pipeline"): "models.tiny.sdxl",
    ("cogvideo-2b", "pipeline"): "models.tiny.sdxl",
}
"""Module by (model id, part); its ``build(folder)`` writes the checkpoint."""


def parts_of(model_id: str) -> tuple[str, ...]:
    """The parts of a model that are built here; none where its twin needs no weights."""
    return tuple(part for owner, part in _RECIPES if owner == model_id)


def built(model_id: str, part: str, cache: Path) -> Path:
    """The folder of one part's tiny checkpoint.

    It is built aside and renamed into place: of several processes that start at once one
    wins, and none ever sees half a checkpoint.

    Raises:
        WeightsMissing: there is none, or ``cache`` cannot be written to.
    """
    recipe = _RECIPES.get((model_id, part))
    if recipe is None:
        raise WeightsMissing(
            f"There is no tiny checkpoint of {model_id} ({part}). "
            "Set FARM_WEIGHTS to hub, or to a folder."
        )
    final = cache / f"{model_id}-{part}-tiny-{_recipe_digest()}"
    if final.is_dir():
        return final
    build: Callable[[Path], None] = importlib.import_module(recipe).build
    try:
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=cache))
    except OSError as error:
        raise WeightsMissing(
            f"The tiny checkpoint of {model_id} cannot be built in {cache}: {error.strerror}."
        ) from error
    try:
        build(draft)
        os.rename(draft, final)
    except OSError:
        if not final.is_dir():  # not the race: the disk
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return final


def _recipe_digest() -> str:
    """Names the tiny recipes as they are now, so that a changed one is built anew."""
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parent.parent / "tiny").glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
