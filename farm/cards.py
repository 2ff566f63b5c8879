"""Model cards: everything outside the engines that is known about the models.

Read from the catalogue and validated there; see :mod:`farm.catalog`.
"""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

UPSTREAM_QUEUE = "upstream"
"""The queue of the models that other services run."""

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
RepositoryPath = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)*$", max_length=200)]


class Frozen(BaseModel):
    """A row of the catalogue: what it does not know, it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ParamSpec(Frozen):
    """What one request parameter of a model may be.

    ``min`` and ``max`` bound the value (text: its length in characters); a ``choice`` is one of
    the words ``choices``. ``drawn`` means the farm draws a value within the bounds where the
    caller gave none; ``unused`` means that the model accepts the field, ignores it, and the
    caller is told so. ``timed`` means that the run time may hang on it. ``of`` is the one
    operation of the model that takes it; empty: every one. ``default_of`` is the one that the
    default is for, where the others do without; empty: every one.
    """

    kind: Literal["text", "integer", "number", "choice"]
    min: float = 0
    max: float = math.inf
    choices: tuple[str, ...] = ()
    default: int | float | str | None = None
    required: bool = False
    drawn: bool = False
    unused: bool = False
    timed: bool = True
    of: str = ""
    default_of: str = ""

    @model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError("a choice, and nothing else, has choices")
        if (self.kind == "choice") != math.isinf(self.max):
            raise ValueError("anything but a choice has a max")
        if self.choices and self.default is not None and self.default not in self.choices:
            raise ValueError(f"default {self.default!r} is none of its choices")
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if isinstance(self.default, int | float) and not self.min <= self.default <= self.max:
            raise ValueError(f"default {self.default} is outside {self.min:g} to {self.max:g}")
        wanted = {"text": str, "choice": str, "integer": int, "number": int | float}[self.kind]
        if self.default is not None and not isinstance(self.default, wanted):
            raise ValueError(f"default {self.default!r} is not a {self.kind}")
        if self.required and (self.default is not None or self.drawn or self.unused):
            raise ValueError("a required parameter has no default, is not drawn and is used")
        if self.default_of and (self.default is None or self.of):
            raise ValueError("default_of is for a default, of what every operation takes")
        return self

    def default_for(self, operation: str) -> int | float | str | None:
        """What a request for this operation gets that does not say."""
        return self.default if self.default_of in ("", operation) else None


class InputSpec(Frozen):
    """What one picture that a model takes may be: bytes of the file, pixels of a side.

    A ``mask`` is a picture of which only the brightness counts (white: this part), and has
    the size of the picture called ``image``; of a ``cut-mask`` only the transparency does
    (transparent: this part), which a storefront may ask for instead. ``of`` is the one
    operation of the model that takes it; empty: every one.
    """

    kind: Literal["picture", "mask", "cut-mask"] = "picture"
    of: str = ""
    required: bool = True
    bytes_max: Annotated[int, Field(ge=1)] = 10 * 1024 * 1024
    side_max: Annotated[int, Field(ge=1, le=8192)] = 4096

    def cut_out(self) -> Self:
        """The same for a mask of which the transparency counts."""
        return self.model_copy(update={"kind": "cut-mask"})


class HubSource(Frozen):
    """A repository on the Hugging Face hub, at a pinned commit.

    ``layout`` is ``pipeline`` (diffusers' index and folders), ``model`` (one configuration
    and its weights) or ``files`` (just those that ``files`` lists, by their paths in the
    repository); ``variant`` names a precision's files. Of any source, ``only_with`` are the
    card's options with which it is needed at all.
    """

    hub_id: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    layout: Literal["pipeline", "model", "files"] = "model"
    files: tuple[RepositoryPath, ...] = ()
    variant: str | None = None
    only_with: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _files_agree(self) -> Self:
        if (self.layout == "files") != bool(self.files):
            raise ValueError("files are listed with the layout 'files', and nowhere else")
        if self.files and self.variant:
            raise ValueError("the layout 'files' names its files itself and has no variant")
        if any(set(path.split("/")) & {".", ".."} for path in self.files):
            raise ValueError("files are paths inside the repository")
        return self


class FileSource(Frozen):
    """A single file that a project publishes, and the SHA-256 without which it is not used.

    ``torch`` (a pickled checkpoint) and ``torchscript`` are converted to safetensors when they
    are fetched; no engine opens them.
    """

    url: Annotated[str, Field(pattern=r"^https://[^/]+/.*[^/]$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    format: Literal["onnx", "safetensors", "torch", "torchscript"]
    only_with: dict[str, str] = Field(default_factory=dict)


def _source_kind(value: Any) -> str:
    has_url = "url" in value if isinstance(value, dict) else hasattr(value, "url")
    return "file" if has_url else "hub"


Source = Annotated[
    Annotated[HubSource, Tag("hub")] | Annotated[FileSource, Tag("file")],
    Discriminator(_source_kind),
]


class ModelCard(Frozen):
    """Everything outside the engine that is known about one model.

    ``vram_gb`` is device memory in GiB, ``typical_s`` the (fast, slow) seconds of one job
    on a data-centre GPU, ``soft_limit_s``/``hard_limit_s`` when a run is stopped/killed,
    ``queue_max`` how many jobs may wait in its queue.
    ``needs_one_of`` names inputs and parameters of which a request gives at least one;
    ``weights`` are the parts of the real weights by name (``pipeline`` is the one that lies in
    the model's own folder); ``options`` are the engine's own settings; ``made_by`` and
    ``made_by_tiny`` say what truly makes the output, with real weights and in the tiny profile.
    ``also`` are operations that it does besides ``operation``; ``instead`` names, by operation,
    the model that serves where this one cannot: no upstream is configured for it, or its licence
    forbids the use.
    """

    id: Identifier
    title: str
    type: Literal["image", "edit", "audio", "video", "3d"]
    operation: Identifier
    also: tuple[Identifier, ...] = ()
    endpoint: Annotated[str, Field(pattern=r"^/")]
    queue: Annotated[str, Field(pattern=r"^(gpu\.[a-z0-9.-]+|upstream)$")]
    aliases: tuple[Identifier, ...] = ()
    vram_gb: Annotated[float, Field(ge=0, le=1024)]
    typical_s: tuple[float, float]
    soft_limit_s: Annotated[int, Field(ge=1, le=7200)]
    hard_limit_s: Annotated[int, Field(ge=2, le=7200)]
    queue_max: Annotated[int, Field(ge=1)] = 10_000
    owned_by: str
    created: date
    license: str
    non_commercial: bool
    weights: dict[Identifier, Source]
    params: dict[str, ParamSpec]
    inputs: dict[str, InputSpec] = Field(default_factory=dict)
    needs_one_of: tuple[str, ...] = ()
    instead: dict[Identifier, Identifier] = Field(default_factory=dict)
    options: dict[str, str] = Field(default_factory=dict)
    made_by: str = ""
    made_by_tiny: str = ""

    @model_validator(mode="after")
    def _limits_agree(self) -> Self:
        if self.soft_limit_s >= self.hard_limit_s:
            raise ValueError("soft_limit_s must be below hard_limit_s")
        if not 0 < self.typical_s[0] <= self.typical_s[1]:
            raise ValueError("typical_s must be [fast, slow], both above 0")
        if doubled := self.params.keys() & self.inputs.keys():
            raise ValueError(f"{min(doubled)!r} is both a parameter and an input")
        if strangers := set(self.needs_one_of) - self.params.keys() - self.inputs.keys():
            raise ValueError(f"needs_one_of names {min(strangers)!r}, which is not there")
        takers = [(name, spec.of) for name, spec in self.inputs.items()]
        takers += [(name, of) for name, s in self.params.items() for of in (s.of, s.default_of)]
        for name, operation in takers:
            if operation and not self.does(operation):
                raise ValueError(f"{name} is of {operation!r}, which the model does not do")
        if self.instead and set(self.instead) != set(self.operations):
            raise ValueError("instead names a model for every operation, and for no other")
        if self.is_hosted and not self.instead:
            raise ValueError("a model on the queue 'upstream' needs instead")
        for part, source in self.weights.items():
            if unknown := source.only_with.keys() - self.options.keys():
                raise ValueError(f"weights.{part} asks for {min(unknown)!r}, which is no option")
        return self

    @property
    def operations(self) -> tuple[str, ...]:
        """Everything that it does."""
        return (self.operation, *self.also)

    @property
    def is_hosted(self) -> bool:
        """True for a model that only an upstream can run."""
        return self.queue == UPSTREAM_QUEUE

    def does(self, operation: str) -> bool:
        """Whether the model does this operation."""
        return operation in self.operations

    def params_of(self, operation: str) -> dict[str, ParamSpec]:
        """The parameters that a request for this operation may have."""
        return {n: spec for n, spec in self.params.items() if spec.of in ("", operation)}

    def inputs_of(self, operation: str) -> dict[str, InputSpec]:
        """The pictures that a request for this operation may have."""
        return {n: spec for n, spec in self.inputs.items() if spec.of in ("", operation)}

    def served_by(self, weights: str) -> str:
        """What truly makes the output where ``weights`` is the setting of that name.

        Of a hosted model that is the model itself, whoever runs it: see :mod:`farm.upstreams`.
        """
        if weights == "tiny" and not self.is_hosted:
            return self.made_by_tiny or f"{self.id}-tiny"
        return self.made_by or self.id
