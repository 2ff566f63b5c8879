"""The catalogue: model cards and storefront tables, read from TOML and validated at load.

Prices, plans, limits and model facts are data. This module turns them into typed, frozen
values and refuses a file in which anything is missing, doubled, unknown or out of order.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from farm.errors import SetupError
from farm.types import CREDIT_TENTHS

BUILT_IN = Path(__file__).with_name("catalog.toml")
PRIORITY_LAST = 9
"""The farm's own priorities: 0 is served first, 9 last."""

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
RepositoryPath = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)*$", max_length=200)]
Credits = Annotated[float, Field(ge=0, le=1_000_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParamSpec(_Frozen):
    """What one request parameter of a model may be.

    ``min`` and ``max`` bound the value (text: its length in characters); a ``choice`` is one of
    the words ``choices``. ``drawn`` means the farm draws a value within the bounds where the
    caller gave none; ``unused`` means that the model accepts the field, ignores it, and the
    caller is told so. ``timed`` means that the run time may hang on it.
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
        return self


class InputSpec(_Frozen):
    """What one picture that a model takes may be: bytes of the file, pixels of a side.

    A ``mask`` is a picture of which only the brightness counts (white: this part), and has
    the size of the picture called ``image``.
    """

    kind: Literal["picture", "mask"] = "picture"
    required: bool = True
    bytes_max: Annotated[int, Field(ge=1)] = 10 * 1024 * 1024
    side_max: Annotated[int, Field(ge=1, le=8192)] = 4096


class HubSource(_Frozen):
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
    only_with: dict[str, str] = {}

    @model_validator(mode="after")
    def _files_agree(self) -> Self:
        if (self.layout == "files") != bool(self.files):
            raise ValueError("files are listed with the layout 'files', and nowhere else")
        if self.files and self.variant:
            raise ValueError("the layout 'files' names its files itself and has no variant")
        if any(set(path.split("/")) & {".", ".."} for path in self.files):
            raise ValueError("files are paths inside the repository")
        return self


class FileSource(_Frozen):
    """A single file that a project publishes, and the SHA-256 without which it is not used.

    ``torch`` (a pickled checkpoint) and ``torchscript`` are converted to safetensors when they
    are fetched; no engine opens them.
    """

    url: Annotated[str, Field(pattern=r"^https://[^/]+/.*[^/]$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    format: Literal["onnx", "safetensors", "torch", "torchscript"]
    only_with: dict[str, str] = {}


def _source_kind(value: Any) -> str:
    has_url = "url" in value if isinstance(value, dict) else hasattr(value, "url")
    return "file" if has_url else "hub"


Source = Annotated[
    Annotated[HubSource, Tag("hub")] | Annotated[FileSource, Tag("file")],
    Discriminator(_source_kind),
]


class ModelCard(_Frozen):
    """Everything outside the engine that is known about one model.

    ``vram_gb`` is device memory in GiB, ``typical_s`` the (fast, slow) seconds of one job
    on a data-centre GPU, ``soft_limit_s``/``hard_limit_s`` when a run is stopped/killed.
    ``needs_one_of`` names inputs and parameters of which a request gives at least one;
    ``weights`` are the parts of the real weights by name (``pipeline`` is the one that lies in
    the model's own folder); ``options`` are the engine's own settings; ``made_by`` and
    ``made_by_tiny`` say what truly makes the output, with real weights and in the tiny profile.
    """

    id: Identifier
    title: str
    type: Literal["image", "edit", "audio", "video", "3d"]
    operation: Identifier
    endpoint: Annotated[str, Field(pattern=r"^/")]
    queue: Annotated[str, Field(pattern=r"^(gpu\.[a-z0-9.-]+|upstream)$")]
    aliases: tuple[Identifier, ...] = ()
    vram_gb: Annotated[float, Field(ge=0, le=1024)]
    typical_s: tuple[float, float]
    soft_limit_s: Annotated[int, Field(ge=1, le=7200)]
    hard_limit_s: Annotated[int, Field(ge=2, le=7200)]
    owned_by: str
    created: date
    license: str
    non_commercial: bool
    weights: dict[Identifier, Source]
    params: dict[str, ParamSpec]
    inputs: dict[str, InputSpec] = {}
    needs_one_of: tuple[str, ...] = ()
    options: dict[str, str] = {}
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
        for part, source in self.weights.items():
            if unknown := source.only_with.keys() - self.options.keys():
                raise ValueError(f"weights.{part} asks for {min(unknown)!r}, which is no option")
        return self

    def served_by(self, weights: str) -> str:
        """What truly makes the output where ``weights`` is the setting of that name."""
        if weights == "tiny":
            return self.made_by_tiny or f"{self.id}-tiny"
        return self.made_by or self.id


class Plan(_Frozen):
    """One row of a storefront's plan table. Credits are whole tenths."""

    id: Identifier
    price_usd: Annotated[float, Field(ge=0)]
    credits_month: Annotated[int, Field(ge=0)]
    submits_per_minute: Annotated[int, Field(ge=1)]
    webhooks: bool
    priority: Annotated[int, Field(ge=0, le=PRIORITY_LAST)]

    @property
    def grant_tenths(self) -> int:
        """The monthly grant, in tenths of a credit."""
        return self.credits_month * CREDIT_TENTHS


class DurationTier(_Frozen):
    """A price for clips of at most ``up_to_s`` seconds."""

    up_to_s: Annotated[float, Field(gt=0)]
    credits: Credits


class Price(_Frozen):
    """One price: flat, by duration, or by resolution. Exactly one of the three."""

    credits: Credits | None = None
    by_duration: tuple[DurationTier, ...] = ()
    by_resolution: dict[str, Credits] = {}

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = [self.credits is not None, bool(self.by_duration), bool(self.by_resolution)]
        if sum(rules) != 1:
            raise ValueError("give exactly one of credits, by_duration, by_resolution")
        bounds = [tier.up_to_s for tier in self.by_duration]
        if bounds != sorted(set(bounds)):
            raise ValueError("by_duration tiers must rise")
        amounts = [
            self.credits,
            *(t.credits for t in self.by_duration),
            *self.by_resolution.values(),
        ]
        if any(a is not None and (a * CREDIT_TENTHS) % 1 for a in amounts):
            raise ValueError("credits have at most one decimal")
        return self


class Storefront(_Frozen):
    """One wire dialect's business side: key prefix, plans and price book."""

    id: Identifier
    base_path: Annotated[str, Field(pattern=r"^/")]
    key_prefix: Annotated[str, Field(pattern=r"^[a-z_]{2,16}$")]
    default_plan: Identifier
    default_model: dict[Identifier, Identifier]
    reads_per_minute: Annotated[int, Field(ge=1)]
    plans: dict[Identifier, Plan]
    prices: dict[Identifier, Price]

    @model_validator(mode="after")
    def _default_plan_exists(self) -> Self:
        if self.default_plan not in self.plans:
            raise ValueError(f"default_plan {self.default_plan!r} is not in plans")
        return self


class Catalog(_Frozen):
    """All model cards and storefronts, by id, and the classifier that may look at results."""

    result_moderation: HubSource | None = None
    models: dict[Identifier, ModelCard]
    storefronts: dict[Identifier, Storefront]

    @field_validator("models", "storefronts", mode="before")
    @classmethod
    def _name_the_rows(cls, table: Any) -> Any:
        """The TOML key is the id; plans take theirs from their own key."""
        named = _with_ids(table)
        if isinstance(named, dict):
            for row in named.values():
                if isinstance(row, dict) and "plans" in row:
                    row["plans"] = _with_ids(row["plans"])
        return named

    @model_validator(mode="after")
    def _names_are_unique_and_priced(self) -> Self:
        seen: dict[str, str] = {}
        for card in self.models.values():
            for name in (card.id, *card.aliases):
                if name in seen:
                    raise ValueError(f"{name!r} names both {seen[name]!r} and {card.id!r}")
                seen[name] = card.id
        for shop in self.storefronts.values():
            for operation, model in shop.default_model.items():
                if model not in self.models or self.models[model].operation != operation:
                    raise ValueError(
                        f"{shop.id}: default model {model!r} does not do {operation!r}"
                    )
        return self

    def card(self, name: str) -> ModelCard | None:
        """The card with this id or alias, or None."""
        found = self.models.get(name)
        if found is not None:
            return found
        return next((card for card in self.models.values() if name in card.aliases), None)

    def offered(self, storefront: str, operation: str | None = None) -> Iterator[ModelCard]:
        """The cards this storefront has a price for, in the catalogue's order."""
        prices = self.storefronts[storefront].prices
        for card in self.models.values():
            if card.id in prices and operation in (None, card.operation):
                yield card

    @property
    def queues(self) -> tuple[str, ...]:
        """Every model queue, each once, in the catalogue's order."""
        return tuple(dict.fromkeys(card.queue for card in self.models.values()))


def _with_ids(table: Any) -> Any:
    """The table with each row's key as its id; what is no table is left for pydantic to name."""
    if not isinstance(table, dict):
        return table
    return {k: dict(row, id=k) if isinstance(row, dict) else row for k, row in table.items()}


def load_catalog(path: Path = BUILT_IN) -> Catalog:
    """Read and validate a catalogue file.

    Raises:
        SetupError: the file is missing, is not TOML, or breaks a rule; the message names
            the file and every place in it that is wrong.
    """
    try:
        return Catalog.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SetupError(f"The catalogue {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"The catalogue {path} is not valid TOML: {error}.") from error
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'catalogue'}: {item['msg']}"
            for item in error.errors()
        )
        raise SetupError(f"The catalogue {path} is wrong: {places}.") from error


@functools.cache
def built_in_catalog() -> Catalog:
    """The catalogue that ships with the farm, read once a process."""
    return load_catalog()
