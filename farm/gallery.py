"""What people read about a model before they choose it. Facts that machines use are on its card.

The texts are data, in ``farm/gallery.toml``, by the model's id.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

from pydantic import Field, RootModel

from farm.cards import Frozen, Identifier
from farm.data_files import load_data

BUILT_IN = Path(__file__).with_name("gallery.toml")

Sentence = Annotated[str, Field(min_length=3, max_length=600)]
Url = Annotated[str, Field(pattern=r"^https://[^\s/]+(/\S*)?$")]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 .-]{0,30}$")]


class ModelText(Frozen):
    """One model in words. ``urls`` are its makers' own pages, ``sample_prompts`` are ours."""

    best_for: Sentence
    description: Sentence
    tags: Annotated[tuple[Tag, ...], Field(min_length=1)]
    researcher: Annotated[str, Field(min_length=1, max_length=80)]
    researcher_url: Url
    urls: Annotated[tuple[Url, ...], Field(min_length=1)]
    sample_prompts: Annotated[tuple[Sentence, ...], Field(min_length=2)]


class Gallery(RootModel[dict[Identifier, ModelText]]):
    """Every text, by the model's id."""

    def about(self, model: str) -> ModelText | None:
        """The text about a model; None for one that nobody has written about."""
        return self.root.get(model)


def load_gallery(path: Path = BUILT_IN) -> Gallery:
    """Read and validate a gallery. Raises SetupError naming every place that is wrong."""
    return load_data(path, Gallery, "gallery")


@functools.cache
def built_in_gallery() -> Gallery:
    """The gallery that ships with the farm, read once a process."""
    return load_gallery()
