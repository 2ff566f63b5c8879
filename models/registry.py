"""Which engine serves which catalogue id. An engine's module is imported on first use."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import cast

from farm.errors import ExtraMissing, SetupError
from models.base import Engine, EngineSetup, Interrupts, WeightsSource

_ENGINES = {
    "sdxl": "models.engines.sdxl:SdxlEngine",
    "flux-schnell": "models.engines.flux:FluxEngine",
}


def engine_ids() -> tuple[str, ...]:
    """Every catalogue id that has an engine."""
    return tuple(_ENGINES)


def create(
    model_id: str,
    weights: str,
    source: WeightsSource,
    *,
    cache: Path | None = None,
    interrupts: Interrupts = (),
) -> Engine:
    """The engine of a model, not yet loaded.

    ``weights`` is ``hub``, ``tiny`` or a folder; ``source`` the card's pinned repository;
    ``cache`` a folder for the tiny checkpoints (left out: one under the home folder);
    ``interrupts`` exceptions that must pass through the engine unchanged.

    Raises:
        SetupError: no engine has this id.
        ExtraMissing: a package of the ``worker`` extra is not installed.
    """
    target = _ENGINES.get(model_id)
    if target is None:
        near = difflib.get_close_matches(model_id, _ENGINES, n=3, cutoff=0.4) or sorted(_ENGINES)
        raise SetupError(f"No engine is called {model_id!r}. Known: {', '.join(near)}.")
    module_name, _, class_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "farm", "models"):
            raise  # a slip of ours, not of the installation
        raise ExtraMissing(
            f"The engine {model_id} needs the Python package {package!r}: "
            "install the worker extra with `pip install 'media-farm[worker]'`."
        ) from error
    setup = EngineSetup(model_id, weights, source, cache or default_cache(), interrupts)
    return cast(Engine, getattr(module, class_name)(setup))


def default_cache() -> Path:
    """Where the tiny checkpoints are built when nobody says otherwise."""
    return Path.home() / ".cache" / "media-farm"
