"""Single files that projects publish beside the hub: fetched by command, checked, converted.

A file counts only after its SHA-256 was what the catalogue says. Pickles and TorchScript
archives are turned into safetensors then and there, so that no engine ever opens one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import warnings
from collections.abc import Iterator
from http import HTTPStatus
from io import BufferedRandom
from pathlib import Path
from typing import Any

from farm.errors import ExtraMissing, SetupError, WeightsMissing
from models.base import FileSource

BYTES_MAX = 32 << 30
REDIRECTS_MAX = 5
TIMEOUT_S = 60.0
"""Longest silence of the other side; a whole file may take as long as it takes."""


def name_of(stem: str, source: FileSource) -> str:
    """The file's name once it may be loaded: ``stem`` and .onnx or .safetensors."""
    return f"{stem}.{'onnx' if source.format == 'onnx' else 'safetensors'}"


def cached(model_id: str, source: FileSource, cache: Path) -> Path:
    """The file that :func:`fetch` left.

    Raises:
        WeightsMissing: it is not there.
    """
    path = _folder(cache) / name_of(source.sha256, source)
    if not path.is_file():
        raise WeightsMissing(
            f"The weights of {model_id} ({source.url}) are not in {path.parent}. "
            f"Fetch them with `farm models pull {model_id}`."
        )
    return path


def fetch(model_id: str, source: FileSource, cache: Path) -> Path:
    """Download a file, check it and convert it; goes on where it stopped. Shows its progress.

    Raises:
        ExtraMissing: a package of the worker extra is not installed.
        SetupError: it could not be fetched, is another file than the catalogue says, or
            cannot be converted.
    """
    final = _folder(cache) / name_of(source.sha256, source)
    if final.is_file():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _locked(final.parent / f"{source.sha256}.part") as draft:
            if final.is_file():
                return final  # somebody else's fetch ended while the file was opened
            _download(model_id, source, draft)
            _verify(model_id, source, draft)
            _finish(model_id, source, Path(draft.name), final)
    except OSError as error:
        raise SetupError(
            f"The weights of {model_id} could not be kept in {final.parent}: {error}."
        ) from error
    return final


def _folder(cache: Path) -> Path:
    return cache / "files"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BufferedRandom]:
    """The half-fetched file, open for more, and this process's alone."""
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(
                f"Another process is fetching {path.name} into {path.parent}. "
                "Wait until it is done."
            ) from error
        yield file


def _download(model_id: str, source: FileSource, draft: BufferedRandom) -> None:
    try:
        import httpx2
        from huggingface_hub.utils.tqdm import tqdm
    except ModuleNotFoundError as error:
        raise _extra_missing(error) from error
    here = draft.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    options: dict[str, Any] = {"follow_redirects": True, "max_redirects": REDIRECTS_MAX}
    try:
        with (
            httpx2.Client(timeout=TIMEOUT_S, **options) as client,
            client.stream("GET", source.url, headers=headers) as answer,
        ):
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing; whether it is the right file is checked next
            answer.raise_for_status()
            if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                here = 0
                draft.truncate(0)
            left = int(answer.headers.get("Content-Length", 0)) or None
            name = source.url.rpartition("/")[2]
            total = here + left if left else None
            progress: Any = tqdm
            with progress(total=total, initial=here, desc=name, unit="B", unit_scale=True) as bar:
                for chunk in answer.iter_raw():
                    if (here := here + len(chunk)) > BYTES_MAX:
                        raise SetupError(f"{source.url} does not end; it was given up.")
                    draft.write(chunk)
                    bar.update(len(chunk))
    except httpx2.HTTPError as error:
        draft.flush()
        raise SetupError(
            f"The weights of {model_id} could not be fetched from {source.url} "
            f"({type(error).__name__}: {error}). Run it again: it goes on where it stopped."
        ) from error


def _verify(model_id: str, source: FileSource, draft: BufferedRandom) -> None:
    draft.flush()
    draft.seek(0)
    found = hashlib.file_digest(draft, "sha256").hexdigest()
    if found != source.sha256:
        draft.truncate(0)
        raise SetupError(
            f"What {source.url} sent for {model_id} is not the file that the catalogue names: "
            f"its SHA-256 is {found}, not {source.sha256}. It was thrown away. Run it again; "
            "if that does not help, put the file into a folder and set FARM_WEIGHTS to it."
        )


def _finish(model_id: str, source: FileSource, draft: Path, final: Path) -> None:
    """Put the checked file into place, converted where it is not to be loaded as it is."""
    if source.format in ("onnx", "safetensors"):
        os.replace(draft, final)
        return
    converted = final.with_suffix(".converting")
    try:
        _to_safetensors(draft, converted, scripted=source.format == "torchscript")
        os.replace(converted, final)
    except ModuleNotFoundError as error:
        raise _extra_missing(error) from error
    except OSError:
        raise
    except Exception as error:
        raise SetupError(
            f"{source.url} could not be converted for {model_id} "
            f"({type(error).__name__}: {str(error)[:300]})."
        ) from error
    finally:
        converted.unlink(missing_ok=True)
    draft.unlink()


def _to_safetensors(source: Path, target: Path, *, scripted: bool) -> None:
    """Write a checkpoint's tensors, under the names that spandrel's loader makes of them.

    Of a TorchScript archive the weights are read and nothing is run. A pickle is read by
    torch's own unpickler for tensors, which calls nothing else.
    """
    import torch
    from safetensors.torch import save_file
    from spandrel import canonicalize_state_dict

    tensors: dict[str, Any]
    if scripted:
        with warnings.catch_warnings():
            # The published file is what it is.
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
            archive: Any = torch.jit
            tensors = archive.load(source, map_location="cpu").state_dict()
    else:
        tensors = torch.load(source, map_location="cpu", weights_only=True)
    kept = {
        # A copy each: the format refuses tensors that share memory.
        name: value.detach().clone().contiguous()
        for name, value in canonicalize_state_dict(tensors).items()
        if isinstance(value, torch.Tensor)
    }
    if not kept:
        raise ValueError("there are no tensors in it")
    save_file(kept, target)


def _extra_missing(error: ModuleNotFoundError) -> ExtraMissing:
    return ExtraMissing(
        f"Fetching weights needs the Python package {error.name!r}: "
        "install the worker extra with `pip install 'media-farm[worker]'`."
    )
