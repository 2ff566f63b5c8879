"""audiocraft's MusicGen, opened from files that are here.

Its loader asks the hub by name for what a checkpoint's own configuration refers to (the text
encoder) and leaves open how a pickle is read. While a model is opened, both are settled here:
the names lead to the card's pinned parts, and a pickle may hold tensors and plain values only.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from farm.errors import ExtraMissing, WeightsMissing
from models.base import CPU
from models.parts.memory import module_bytes
from models.parts.quiet import quieten

LANGUAGE_MODEL = "state_dict.bin"
CODEC = "compression_state_dict.bin"
"""The two files of a checkpoint, by audiocraft's own names."""


def open_musicgen(music: Path, text: Path, device: str) -> Any:
    """An ``audiocraft.models.MusicGen`` on a device: float16 on a GPU, float32 on a CPU.

    Args:
        music: the folder of the checkpoint's two files.
        text: the folder of the T5 encoder that it was trained with, and its tokenizer.
        device: ``cpu`` or ``cuda:<n>``.

    Raises:
        ExtraMissing: audiocraft is not installed.
        WeightsMissing: the checkpoint only refers to a codec that lies elsewhere.
    """
    library = import_audiocraft()
    with local_files(text), _old_weight_norm_ignored(), on_device(device):
        # Autocast knows kinds of devices, not numbers.
        return library.MusicGen.get_pretrained(str(music), device=torch.device(device).type)


def resident_bytes(model: Any) -> int:
    """Bytes of every parameter and buffer: language model, text encoders, codec."""
    encoders = (getattr(c, "t5", None) for c in model.lm.condition_provider.conditioners.values())
    # The text encoder hides from torch, so that it is not saved with the rest.
    parts = (model.lm, model.compression_model, *(e for e in encoders if e is not None))
    return sum(module_bytes(part) for part in parts)


def import_audiocraft() -> Any:
    """``audiocraft.models``, imported without a word.

    Raises:
        ExtraMissing: it, or a package that it needs, is not installed.
    """
    quieten()
    try:
        with warnings.catch_warnings(), stand_in_for_xformers():
            warnings.simplefilter("ignore")
            import audiocraft.models
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"MusicGen needs the Python package {(error.name or '').partition('.')[0]!r}: install "
            "the worker extra with `pip install 'media-farm[worker]'`, and then audiocraft without "
            "its own pins with `pip install --no-deps audiocraft==1.3.0`."
        ) from error
    return audiocraft.models


@contextlib.contextmanager
def local_files(text: Path) -> Iterator[None]:
    """In here audiocraft finds the text encoder in a folder, whatever its checkpoint calls it,
    reads pickles safely and does without xformers. It has no setting for any of them."""
    from audiocraft.models import loaders
    from audiocraft.modules import conditioners
    from transformers import T5EncoderModel, T5Tokenizer

    network = {"use_safetensors": True, "dtype": torch.float32}
    with (
        stand_in_for_xformers(),
        _replaced(loaders, "_get_state_dict", _read_checkpoint),
        _replaced(conditioners, "T5Tokenizer", _Pinned(T5Tokenizer, text, {})),
        _replaced(conditioners, "T5EncoderModel", _Pinned(T5EncoderModel, text, network)),
    ):
        yield


@contextlib.contextmanager
def on_device(device: str) -> Iterator[None]:
    """In here ``cuda`` means this GPU, and it takes no way to a result that gives another one
    the next time, as its quickest ways through a codec may."""
    if device == CPU:
        yield
        return
    with torch.cuda.device(device), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        yield


class _Pinned:
    """Stands in for a class of transformers; opens one folder, whatever name it is asked for."""

    def __init__(self, kind: Any, folder: Path, options: dict[str, Any]) -> None:
        self._kind = kind
        self._folder = folder
        self._options = options

    def from_pretrained(self, name: str) -> Any:
        return self._kind.from_pretrained(self._folder, local_files_only=True, **self._options)


def _read_checkpoint(
    folder: str | Path, filename: str, device: str = CPU, cache_dir: str | None = None
) -> dict[str, Any]:
    """One of a checkpoint's files: ``best_state``, and its configuration in YAML as ``xp.cfg``."""
    path = Path(folder) / filename
    content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if "pretrained" in content:
        raise WeightsMissing(
            f"{path} holds no weights, only the name {content['pretrained']!r}. Put the file of "
            "the same name from facebook/musicgen-small there, which has them."
        )
    return content


@contextlib.contextmanager
def stand_in_for_xformers() -> Iterator[None]:
    """In here ``import xformers`` gives what audiocraft uses of it when its attention is
    torch's, as it is by default; it imports it when it is imported, built and run.

    The package itself is not installed: no release of it is built for this torch, and diffusers
    would import it, for two seconds, in every process.
    """
    package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.unbind = torch.unbind  # type: ignore[attr-defined]
    # That there is one says that attention is causal.
    ops.LowerTriangularMask = type("LowerTriangularMask", (), {})  # type: ignore[attr-defined]
    # Looked for when a network is built, and not called.
    ops.memory_efficient_attention = None  # type: ignore[attr-defined]
    package.ops = ops  # type: ignore[attr-defined]
    ours = {"xformers": package, "xformers.ops": ops}
    before = {name: sys.modules[name] for name in ours if name in sys.modules}
    sys.modules.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextlib.contextmanager
def _old_weight_norm_ignored() -> Iterator[None]:
    """Ignore one message: audiocraft 1.3 builds its codec with torch's older weight norm, whose
    names its checkpoints have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*weight_norm.* is deprecated", FutureWarning)
        yield
