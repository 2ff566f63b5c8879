"""The weights that training left here, put into the networks they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from farm.errors import WeightsMissing

FOLDER = Path(__file__).parent / "weights"
"""Where training exports ``NAME.safetensors`` to, in half precision each."""

Module = TypeVar("Module", bound=nn.Module)


def load(module: Module, name: str, folder: Path = FOLDER) -> Module:
    """The same module with its trained weights, in float32, not to be trained on.

    Raises:
        WeightsMissing: the file is not there, not whole, or of another network.
    """
    file = folder / f"{name}.safetensors"
    try:
        found = {key: value.float() for key, value in load_file(file).items()}
        module.load_state_dict(found)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsMissing(
            f"The built-in checkpoint cannot be read from {file}: {error} Install the package "
            "again, or make it anew with python -m models.tiny.train."
        ) from error
    return module.eval().requires_grad_(False)
