"""From a setting to files: the hub's cache, a folder, or the built-in tiny checkpoints.

A model's weights are parts, each a repository or a single file; its card names them. Every
way ends in a local path that one ``from_pretrained`` line, or one library's loader, opens, and
an engine never touches the network: only :func:`pull` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farm.errors import SetupError, WeightsMissing
from models.base import HUB, TINY, EngineSetup, FileSource, HubSource, Source
from models.weights import files, hub, layout, tiny

PIPELINE = "pipeline"
"""The part that lies in a model's folder itself, and not in one of its own name."""


@dataclass(frozen=True, slots=True)
class Located:
    """One part of a model's weights: a folder or a file, and the precision its files say."""

    path: Path
    variant: str | None = None


def locate(setup: EngineSetup, part: str) -> Located:
    """Find (or, for ``tiny``, build) one part of a model's weights and check that it is whole.

    Raises:
        WeightsMissing: a file is not there; the message says which, and what to do.
        SetupError: the model's card names no such part.
    """
    source = setup.sources.get(part)
    if source is None:
        known = ", ".join(setup.sources) or "none"
        raise SetupError(f"The card of {setup.model_id} names no weights {part!r}, only {known}.")
    if setup.weights == TINY:
        return _tiny(setup, part)
    if setup.weights != HUB:
        folder = Path(setup.weights).expanduser().absolute() / setup.model_id
        return _in_folder(setup, part, source, folder)
    if isinstance(source, FileSource):
        return Located(files.cached(setup.model_id, source, setup.cache))
    return Located(hub.cached(setup.model_id, source, _others(setup, part)), source.variant)


def needed(setup: EngineSetup) -> tuple[str, ...]:
    """The parts that the engine opens as the card's options are."""
    return tuple(
        part
        for part, source in setup.sources.items()
        if all(setup.options.get(name) == value for name, value in source.only_with.items())
    )


def check(setup: EngineSetup) -> dict[str, Path]:
    """Where each part that is needed lies, once all are there; empty where a twin needs none.

    Raises:
        WeightsMissing: the first that is not there, or not whole.
    """
    parts = needed(setup)
    if setup.weights == TINY:
        parts = tiny.parts_of(setup.model_id)
    return {part: locate(setup, part).path for part in parts}


def pull(setup: EngineSetup) -> dict[str, Path]:
    """Fetch every part that is needed and check it; goes on where it stopped.

    Repositories go into the hub's cache, files into ``<cache>/files``. Shows progress bars.

    Raises:
        ExtraMissing: a package of the worker extra is not installed.
        SetupError: something could not be fetched, or is not what the catalogue says.
    """
    got: dict[str, Path] = {}
    for part in needed(setup):
        source = setup.sources[part]
        if isinstance(source, FileSource):
            got[part] = files.fetch(setup.model_id, source, setup.cache)
        else:
            got[part] = hub.fetch(setup.model_id, source, _others(setup, part))
    return got


def checkpoint(name: str, where: str, source: HubSource | None) -> Path:
    """The folder of a checkpoint that belongs to no model: ``source`` in the hub's cache where
    ``where`` is ``hub``, else the folder ``where`` itself.

    Raises:
        WeightsMissing: it is not there, or not whole.
    """
    if where == HUB:
        assert source is not None, "the hub has no default"
        return hub.cached(name, source, ())
    path = Path(where).expanduser().absolute()
    if not path.is_dir():
        raise WeightsMissing(f"No weights for {name}: there is no folder {path}.")
    return layout.check_model(path, None)


def fetch_checkpoint(name: str, source: HubSource) -> Path:
    """Fetch a checkpoint that belongs to no model into the hub's cache; raises as
    :func:`pull` does."""
    return hub.fetch(name, source, ())


def labels(path: Path) -> tuple[str, ...]:
    """The labels that a classifier's configuration lists, in order."""
    return layout.labels(path)


def _others(setup: EngineSetup, part: str) -> tuple[str, ...]:
    """The parts that have a source of their own, and replace a pipeline's."""
    return tuple(name for name in setup.sources if name != part)


def _tiny(setup: EngineSetup, part: str) -> Located:
    if part not in tiny.parts_of(setup.model_id) and PIPELINE in tiny.parts_of(setup.model_id):
        inside = tiny.built(setup.model_id, PIPELINE, setup.cache) / part
        if inside.is_dir():
            return Located(layout.check_model(inside, None))
    return Located(tiny.built(setup.model_id, part, setup.cache))


def _in_folder(setup: EngineSetup, part: str, source: Source, folder: Path) -> Located:
    choice = "or set FARM_WEIGHTS to hub or tiny."
    if isinstance(source, FileSource):
        file = folder / files.name_of(part, source)
        if file.is_file():
            return Located(file)
        published = source.url.rpartition("/")[2]
        converted = "" if source.format == file.suffix[1:] else ", converted to safetensors,"
        raise WeightsMissing(
            f"No weights for {setup.model_id}: there is no file {file}. "
            f"Put {published}{converted} there, {choice}"
        )
    path = folder if part == PIPELINE else folder / part
    if not path.is_dir():
        raise WeightsMissing(
            f"No weights for {setup.model_id}: there is no folder {path}. "
            f"Put a checkpoint of {source.hub_id} there, {choice}"
        )
    if source.files:
        return Located(layout.check_files(path, source.files))
    variant = layout.variant_in(path, source.layout, source.variant)
    if source.layout == layout.PIPELINE_LAYOUT:
        return Located(layout.check_pipeline(path, variant, _others(setup, part)), variant)
    return Located(layout.check_model(path, variant), variant)
