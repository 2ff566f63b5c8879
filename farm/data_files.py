"""Data files in TOML: read, turned into typed values, and refused with the place of every slip."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from farm.errors import SetupError

Shape = TypeVar("Shape", bound=BaseModel)


def load_data(path: Path, shape: type[Shape], name: str) -> Shape:
    """Read and validate a file, which messages call by its ``name``.

    Raises:
        SetupError: the file is missing, is not TOML, or breaks a rule; the message names
            the file and every place in it that is wrong.
    """
    try:
        return shape.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SetupError(f"The {name} {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"The {name} {path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or name}: {item['msg']}"
            for item in error.errors()
        )
        raise SetupError(f"The {name} {path} is wrong: {places}.") from error


def with_ids(table: Any) -> Any:
    """The table with each row's key as its id; what is no table is left for pydantic to name."""
    if not isinstance(table, dict):
        return table
    return {k: dict(row, id=k) if isinstance(row, dict) else row for k, row in table.items()}
