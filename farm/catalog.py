"""The catalogue: model cards and storefront tables, read from TOML and validated at load.

Prices, plans, limits and model facts are data. This module turns them into typed, frozen
values and refuses a file in which anything is missing, doubled, unknown or out of order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from farm.cards import Frozen, HubSource, Identifier, ModelCard
from farm.data_files import load_data, with_ids
from farm.types import CREDIT_TENTHS

BUILT_IN = Path(__file__).with_name("catalog.toml")
PRIORITY_LAST = 9
"""The farm's own priorities: 0 is served first, 9 last."""

Credits = Annotated[float, Field(ge=0, le=1_000_000)]
Factor = Annotated[int, Field(ge=1, le=100)]


class Plan(Frozen):
    """One row of a storefront's plan table. Credits are whole tenths.

    ``submits_per_day`` is counted for each key, ``submits_per_minute`` for the account;
    ``jobs_max`` is how many of the account's jobs may be queued or running at once.
    """

    id: Identifier
    price_usd: Annotated[float, Field(ge=0)]
    credits_month: Annotated[int, Field(ge=0)]
    submits_per_minute: Annotated[int, Field(ge=1)]
    submits_per_day: Annotated[int, Field(ge=1)] | None = None
    jobs_max: Annotated[int, Field(ge=1)] = 2_000
    webhooks: bool
    priority: Annotated[int, Field(ge=0, le=PRIORITY_LAST)]

    @property
    def grant_tenths(self) -> int:
        """The monthly grant, in tenths of a credit."""
        return self.credits_month * CREDIT_TENTHS


class DurationTier(Frozen):
    """A price for clips of at most ``up_to_s`` seconds."""

    up_to_s: Annotated[float, Field(gt=0)]
    credits: Credits


class Price(Frozen):
    """One price: flat, by duration, or by resolution. Exactly one of the three."""

    credits: Credits | None = None
    by_duration: tuple[DurationTier, ...] = ()
    by_resolution: dict[str, Credits] = Field(default_factory=dict)

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

    @property
    def least_tenths(self) -> int:
        """The price in tenths of a credit, or the lowest where it depends on the request."""
        amounts = [t.credits for t in self.by_duration] or list(self.by_resolution.values())
        return round((min(amounts) if self.credits is None else self.credits) * CREDIT_TENTHS)


class Storefront(Frozen):
    """One wire dialect's business side: key prefix, plans and price book.

    ``bounds`` are narrower limits of parameters than the models' own; ``factors`` say what a
    word of the request multiplies the price by, by field and word.
    """

    id: Identifier
    base_path: Annotated[str, Field(pattern=r"^/")]
    key_prefix: Annotated[str, Field(pattern=r"^[a-z_]{2,16}$")]
    default_plan: Identifier
    default_model: dict[Identifier, Identifier]
    reads_per_minute: Annotated[int, Field(ge=1)]
    plans: dict[Identifier, Plan]
    prices: dict[Identifier, Price]
    bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    factors: dict[str, dict[str, Factor]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _default_plan_exists(self) -> Self:
        if self.default_plan not in self.plans:
            raise ValueError(f"default_plan {self.default_plan!r} is not in plans")
        for name, (low, high) in self.bounds.items():
            if low > high:
                raise ValueError(f"bounds.{name}: {low:g} is above {high:g}")
        return self


class Catalog(Frozen):
    """All model cards and storefronts, by id, and the classifier that may look at results."""

    result_moderation: HubSource | None = None
    models: dict[Identifier, ModelCard]
    storefronts: dict[Identifier, Storefront]

    @field_validator("models", "storefronts", mode="before")
    @classmethod
    def _name_the_rows(cls, table: Any) -> Any:
        """The TOML key is the id; plans take theirs from their own key."""
        named = with_ids(table)
        if isinstance(named, dict):
            for row in named.values():
                if isinstance(row, dict) and "plans" in row:
                    row["plans"] = with_ids(row["plans"])
        return named

    @model_validator(mode="after")
    def _names_are_unique_and_priced(self) -> Self:
        seen: dict[str, str] = {}
        for card in self.models.values():
            for name in (card.id, *card.aliases):
                if name in seen:
                    raise ValueError(f"{name!r} names both {seen[name]!r} and {card.id!r}")
                seen[name] = card.id
        for card in self.models.values():
            for operation, other in card.instead.items():
                if other not in self.models or not self.models[other].does(operation):
                    raise ValueError(f"{card.id}: {other!r} does not do {operation!r} instead")
        for shop in self.storefronts.values():
            for operation, model in shop.default_model.items():
                if model not in self.models or not self.models[model].does(operation):
                    raise ValueError(
                        f"{shop.id}: default model {model!r} does not do {operation!r}"
                    )
            known = {name for model in self.models.values() for name in model.params}
            if strangers := shop.bounds.keys() - known:
                raise ValueError(f"{shop.id}: bounds.{min(strangers)} is no model's parameter")
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
            if card.id in prices and operation in (None, *card.operations):
                yield card

    @property
    def queues(self) -> tuple[str, ...]:
        """Every model queue, each once, in the catalogue's order."""
        return tuple(dict.fromkeys(card.queue for card in self.models.values()))


def load_catalog(path: Path = BUILT_IN) -> Catalog:
    """Read and validate a catalogue file.

    Raises:
        SetupError: the file is missing, is not TOML, or breaks a rule; the message names
            the file and every place in it that is wrong.
    """
    return load_data(path, Catalog, "catalogue")


@functools.cache
def built_in_catalog() -> Catalog:
    """The catalogue that ships with the farm, read once a process."""
    return load_catalog()
