"""Repositories on the Hugging Face hub: fetched by command, found in its cache, never both.

Only safetensors files and configuration are fetched, at a pinned commit, or what a card lists
file by file.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from farm.errors import ExtraMissing, SetupError, WeightsMissing
from models.base import HubSource
from models.weights import layout


def cached(model_id: str, source: HubSource, without: Collection[str]) -> Path:
    """The snapshot of a repository in the hub's cache, once it is whole.

    ``without`` are parts of a pipeline that another source supplies.

    Raises:
        WeightsMissing: it, or a file of it, is not there.
    """
    from huggingface_hub import try_to_load_from_cache

    is_pipeline = source.layout == layout.PIPELINE_LAYOUT
    file = layout.INDEX if is_pipeline else layout.CONFIG
    if source.files:
        file = source.files[0]
    found = try_to_load_from_cache(source.hub_id, file, revision=source.revision)
    if not isinstance(found, str):
        raise WeightsMissing(
            f"The weights of {model_id} ({source.hub_id} at {source.revision}) are not in the "
            f"hub's cache. Fetch them with `farm models pull {model_id}`."
        )
    path = Path(found).parents[file.count("/")]
    if source.files:
        return layout.check_files(path, source.files)
    if is_pipeline:
        return layout.check_pipeline(path, source.variant, without)
    return layout.check_model(path, source.variant)


def fetch(model_id: str, source: HubSource, without: Collection[str]) -> Path:
    """Fetch a repository into the hub's cache and check it; goes on where it stopped.

    Returns the folder of the snapshot. Shows its own progress bars.

    Raises:
        ExtraMissing: huggingface_hub is not installed.
        SetupError: the hub refused (licence not accepted), or could not be reached.
    """
    try:
        import httpx2
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            "Fetching weights needs the Python package 'huggingface_hub': "
            "install the worker extra with `pip install 'media-farm[worker]'`."
        ) from error
    try:
        wanted = layout.model_patterns(source.variant)
        if source.layout == layout.PIPELINE_LAYOUT:
            index = hf_hub_download(source.hub_id, layout.INDEX, revision=source.revision)
            folders = [part for part, _ in layout.parts(Path(index).parent) if part not in without]
            wanted = layout.pipeline_patterns(folders, source.variant)
        if source.files:
            wanted = list(source.files)
        snapshot_download(source.hub_id, revision=source.revision, allow_patterns=wanted)
    except GatedRepoError as error:
        raise SetupError(
            f"The hub keeps {source.hub_id} behind its licence: accept it at "
            f"https://huggingface.co/{source.hub_id}, then run `hf auth login` and try again."
        ) from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise SetupError(
            f"The weights of {model_id} could not be fetched from {source.hub_id} "
            f"({type(error).__name__}: {error}). Run it again: it goes on where it stopped."
        ) from error
    return cached(model_id, source, without)
