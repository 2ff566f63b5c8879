"""What a checkpoint's folder holds: its parts, which files each needs, and what to fetch.

A ``pipeline`` is diffusers' layout, an index and one folder a part; a ``model`` is one such
part, or a transformers checkpoint, on its own; ``files`` is neither: a list of paths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from farm.errors import WeightsMissing

INDEX = "model_index.json"
CONFIG = "config.json"
PIPELINE_LAYOUT = "pipeline"

_STEMS = ("diffusion_pytorch_model", "model")
_WEIGHTS_NAME = re.compile(
    rf"(?:{'|'.join(_STEMS)})(?:\.(\w+))?(?:-\d+-of-\d+)?(?:\.(\w+))?\.safetensors"
)
"""A precision's name stands before or after a shard's number, as the library's version had it."""


def check_pipeline(path: Path, variant: str | None, without: Collection[str] = ()) -> Path:
    """The folder itself, once every part that its index names is there and whole.

    ``without`` are parts that another checkpoint supplies.

    Raises:
        WeightsMissing: naming the first file that is missing or cannot be read.
    """
    for part, class_name in parts(path):
        if part in without:
            continue
        folder = path / part
        if "Tokenizer" in class_name:
            _need(folder / "tokenizer_config.json")
        elif "Scheduler" in class_name:
            _need(folder / "scheduler_config.json")
        elif "Processor" in class_name or "Extractor" in class_name:
            _need(folder / "preprocessor_config.json")
        else:
            check_model(folder, variant)
    return path


def check_model(path: Path, variant: str | None) -> Path:
    """The folder itself, once the configuration and the safetensors files are there.

    Raises:
        WeightsMissing: naming the first file that is missing or cannot be read.
    """
    _need(path / CONFIG)
    for file in _weight_files(path, variant):
        _need(file)
    return path


def check_files(path: Path, files: Iterable[str]) -> Path:
    """The folder itself, once every file that its card lists is there.

    Raises:
        WeightsMissing: naming the first that is missing.
    """
    for file in files:
        _need(path / file)
    return path


def parts(path: Path) -> Iterator[tuple[str, str]]:
    """(folder, class name) of each part in a pipeline's index."""
    for part, value in _read_json(path / INDEX).items():
        if isinstance(value, list) and len(value) == 2 and value[1] is not None:
            yield part, str(value[1])


def labels(path: Path) -> tuple[str, ...]:
    """What a classifier can say, in the order of its outputs.

    Raises:
        WeightsMissing: its configuration cannot be read, or lists no labels.
    """
    listed = _read_json(path / CONFIG).get("id2label")
    if not isinstance(listed, dict) or not listed:
        raise WeightsMissing(f"{path / CONFIG} lists no labels: this is no classifier.")
    return tuple(str(listed[number]) for number in sorted(listed, key=int))


def pipeline_patterns(folders: Iterable[str], variant: str | None) -> list[str]:
    """The files of a pipeline that are fetched: its index, and these parts of it."""
    return [INDEX, *(f"{folder}/{name}" for folder in folders for name in model_patterns(variant))]


def model_patterns(variant: str | None) -> list[str]:
    """The files of one model that are fetched: configuration, vocabulary, and one precision's
    safetensors; no other format."""
    dotted = f".{variant}" if variant else ""
    names = [CONFIG, "*_config.json", "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"]
    names += ["special_tokens_map.json", "*.model"]
    for stem in _STEMS:
        names += [f"{stem}{dotted}.safetensors", f"{stem}{dotted}-0*.safetensors"]
        names += [f"{stem}-0*{dotted}.safetensors", f"{stem}.safetensors.index{dotted}.json"]
    return names


def variant_in(path: Path, layout: str, wanted: str | None) -> str | None:
    """Which precision a folder that somebody filled by hand is loaded in: the wanted one where
    it is there, else the plain files, else the first there is."""
    names = (file.name for file in path.glob("*/*" if layout == PIPELINE_LAYOUT else "*"))
    found = {m[1] or m[2] for m in map(_WEIGHTS_NAME.fullmatch, names) if m}
    if wanted in found or None in found or not found:
        return wanted if wanted in found else None
    return min(found)


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The safetensors files of one part: a single one, or the shards its index names."""
    dotted = f".{variant}" if variant else ""
    for stem in _STEMS:
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
