"""From a setting to files: the hub's cache, a folder, or the built-in tiny checkpoint.

Every way ends in a local folder in diffusers' layout, so that one ``from_pretrained`` line
loads them all, and an engine never touches the network: only :func:`pull` does.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.errors import ExtraMissing, SetupError, WeightsMissing
from models.base import WeightsSource

HUB = "hub"
TINY = "tiny"
INDEX = "model_index.json"

_TINY_RECIPES = {"sdxl": "models.tiny.sdxl", "flux-schnell": "models.tiny.flux"}


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's files: the pipeline's folder, its variant, and a VAE that replaces its own."""

    path: Path
    variant: str | None = None
    vae_path: Path | None = None


def resolve(model_id: str, weights: str, source: WeightsSource, cache: Path) -> Weights:
    """Find (or, for ``tiny``, build) the files of a model and check that they are whole.

    ``weights`` is ``hub``, ``tiny``, or a folder with ``<model_id>/`` in it.

    Raises:
        WeightsMissing: a file is not there; the message says which, and what to do.
    """
    if weights == HUB:
        return _from_hub(model_id, source)
    if weights == TINY:
        return Weights(check(_built(model_id, cache)))
    path = Path(weights).expanduser().absolute() / model_id
    if not path.is_dir():
        raise WeightsMissing(
            f"No weights for {model_id}: there is no folder {path}. Put a diffusers checkpoint "
            f"of {source.hub_id} there, or set FARM_WEIGHTS to hub or tiny."
        )
    variant = source.variant if _has_variant(path, source.variant) else None
    return Weights(check(path, variant), variant)


def check(path: Path, variant: str | None = None, *, without: tuple[str, ...] = ()) -> Path:
    """The folder itself, once every part that its index names is there and whole.

    ``without`` are parts that another checkpoint supplies.

    Raises:
        WeightsMissing: naming the first file that is missing or cannot be read.
    """
    for part, class_name in _parts(path):
        if part not in without:
            _check_part(path / part, class_name, variant)
    return path


def pull(model_id: str, source: WeightsSource) -> Path:
    """Fetch a model's files into the hub's cache and check them; resumes where it stopped.

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
    replaced = ("vae",) if source.vae_hub_id else ()
    try:
        index = Path(hf_hub_download(source.hub_id, INDEX, revision=source.revision))
        parts = [part for part, _ in _parts(index.parent) if part not in replaced]
        wanted = [INDEX, *_patterns(parts, source.variant)]
        path = Path(
            snapshot_download(source.hub_id, revision=source.revision, allow_patterns=wanted)
        )
        if source.vae_hub_id:
            snapshot_download(
                source.vae_hub_id,
                revision=source.vae_revision,
                allow_patterns=["config.json", "diffusion_pytorch_model.safetensors"],
            )
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
    _from_hub(model_id, source)
    return path


def _from_hub(model_id: str, source: WeightsSource) -> Weights:
    from huggingface_hub import try_to_load_from_cache

    def snapshot(hub_id: str, revision: str | None, file: str) -> Path:
        found = try_to_load_from_cache(hub_id, file, revision=revision)
        if not isinstance(found, str):
            raise WeightsMissing(
                f"The weights of {model_id} ({hub_id} at {revision}) are not in the hub's "
                f"cache. Fetch them with `farm models pull {model_id}`."
            )
        return Path(found).parent

    path = snapshot(source.hub_id, source.revision, INDEX)
    if source.vae_hub_id is None:
        return Weights(check(path, source.variant), source.variant)
    vae = snapshot(source.vae_hub_id, source.vae_revision, "config.json")
    _check_part(vae, "AutoencoderKL", None)
    return Weights(check(path, source.variant, without=("vae",)), source.variant, vae)


def _parts(path: Path) -> Iterator[tuple[str, str]]:
    """(folder, class name) of each part in a checkpoint's index."""
    for part, value in _read_json(path / INDEX).items():
        if isinstance(value, list) and len(value) == 2 and value[1] is not None:
            yield part, str(value[1])


def _check_part(folder: Path, class_name: str, variant: str | None) -> None:
    if "Tokenizer" in class_name:
        _need(folder / "tokenizer_config.json")
    elif "Scheduler" in class_name:
        _need(folder / "scheduler_config.json")
    else:
        _need(folder / "config.json")
        for file in _weight_files(folder, variant):
            _need(file)


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors files of one part: a single one, or the shards its index names."""
    dotted = f".{variant}" if variant else ""
    for stem in ("diffusion_pytorch_model", "model"):
        index = folder / f"{stem}.safetensors.index{dotted}.json"
        if index.exists():
            shards = _read_json(index).get("weight_map", {})
            return [folder / name for name in sorted(set(shards.values()))]
        if (single := folder / f"{stem}{dotted}.safetensors").exists():
            return [single]
    raise WeightsMissing(
        f"{folder} holds no {variant + ' ' if variant else ''}safetensors file; "
        "other formats are not loaded. Fetch the model again."
    )


def _has_variant(path: Path, variant: str | None) -> bool:
    return variant is not None and any(path.glob(f"*/*.{variant}*.safetensors"))


def _patterns(parts: list[str], variant: str | None) -> list[str]:
    """What to fetch of each part: configuration, vocabulary, one precision's safetensors."""
    dotted = f".{variant}" if variant else ""
    kinds = ["config.json", "*_config.json", "tokenizer.json", "vocab.json", "merges.txt"]
    kinds += ["special_tokens_map.json", "*.model"]
    for stem in ("diffusion_pytorch_model", "model"):
        kinds += [f"{stem}{dotted}.safetensors", f"{stem}{dotted}-0*.safetensors"]
        kinds += [f"{stem}-0*{dotted}.safetensors", f"{stem}.safetensors.index{dotted}.json"]
    return [f"{part}/{kind}" for part in parts for kind in kinds]


def _need(file: Path) -> None:
    if not file.is_file():
        raise WeightsMissing(f"The checkpoint is not whole: {file} is missing. Fetch it again.")


def _read_json(file: Path) -> dict[str, Any]:
    _need(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsMissing(f"{file} cannot be read ({error}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise WeightsMissing(f"{file} is not a JSON object. Fetch it again.")
    return content


def _built(model_id: str, cache: Path) -> Path:
    """The tiny checkpoint's folder, built where it is not there yet.

    It is built aside and renamed into place: of several processes that start at once one
    wins, and none ever sees half a checkpoint.
    """
    recipe = _TINY_RECIPES.get(model_id)
    if recipe is None:
        raise WeightsMissing(f"There is no tiny checkpoint of {model_id}; set FARM_WEIGHTS to hub.")
    final = cache / f"{model_id}-tiny-{_recipe_digest()}"
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
    for file in sorted(Path(__file__).with_name("tiny").glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
