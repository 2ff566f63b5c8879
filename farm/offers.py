"""What each storefront sells, and which model truly runs when it is asked for.

A model of the price book may be one that only its maker runs, or one whose licence forbids
what the farm is used for. Its card then names another ``instead``; the price, the name and the
receipt stay those of what was sold, and ``served_by`` says what made the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from farm.cards import ModelCard
from farm.catalog import Catalog, Storefront
from farm.errors import FieldError, InvalidRequest
from farm.upstreams import served_by

_STEPS_MAX = 4
"""How many models may stand in for one another in a row."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One model for one operation: ``sold`` is what the customer asked for and pays,
    ``card`` what runs. Their limits are the storefront's."""

    sold: ModelCard
    card: ModelCard
    operation: str

    @property
    def sold_as(self) -> str:
        """The id that it is sold under, empty where that is the model's own."""
        return self.sold.id if self.sold.id != self.card.id else ""


class Offers:
    """The price books, as far as this farm can serve them.

    Args:
        upstreams: what the upstream is called that a hosted model is configured for, by its id.
        commercial_only: True where weights that forbid commercial use may not run.
    """

    def __init__(
        self,
        catalog: Catalog,
        upstreams: Mapping[str, str] | None = None,
        *,
        commercial_only: bool = False,
    ) -> None:
        self._catalog = catalog
        self._upstreams = upstreams or {}
        self._commercial_only = commercial_only
        self._found: dict[tuple[str, str, str], Offer] = {}

    def sold(self, storefront: str, operation: str | None = None) -> Iterator[ModelCard]:
        """The models that a storefront has a price for and that something can serve, in the
        catalogue's order."""
        shop = self._catalog.storefronts[storefront]
        for card in self._catalog.offered(storefront, operation):
            asked = card.operations if operation is None else (operation,)
            if any(self.runner(card, each) is not None for each in asked):
                yield narrowed(card, shop)

    def does(self, storefront: str, operation: str) -> bool:
        """Whether anything is sold there for this operation."""
        return next(self.sold(storefront, operation), None) is not None

    def default(self, storefront: str, operation: str) -> str:
        """The id of the model that an operation means where the request names none."""
        return self._catalog.storefronts[storefront].default_model[operation]

    def find(self, storefront: str, operation: str, name: str | None = None) -> Offer:
        """The model that a request means; without a name, the storefront's default.

        Raises:
            InvalidRequest: the storefront has no such model for this operation.
        """
        shop = self._catalog.storefronts[storefront]
        name = self.default(storefront, operation) if name is None else name
        known = (storefront, operation, name)
        offer = self._found.get(known) or self._look(shop, operation, name)
        if offer is None:
            names = ", ".join(card.id for card in self.sold(storefront, operation))
            raise InvalidRequest(
                [FieldError("model", f"{name[:64]!r} is not a model here. Choose one of {names}.")]
            )
        self._found[known] = offer  # as many as there are names
        return offer

    def _look(self, shop: Storefront, operation: str, name: str) -> Offer | None:
        sold = self._catalog.card(name)
        if sold is None or sold.id not in shop.prices or not sold.does(operation):
            return None
        runner = self.runner(sold, operation)
        if runner is None:
            return None
        return Offer(narrowed(sold, shop), narrowed(runner, shop), operation)

    def runner(self, card: ModelCard, operation: str) -> ModelCard | None:
        """The model that runs when this one is asked for an operation; None: nothing can."""
        for _ in range(_STEPS_MAX):
            if self._may_run(card):
                return card
            other = card.instead.get(operation)
            if other is None:
                return None
            card = self._catalog.models[other]
        return None

    def served_by(self, storefront: str, card: ModelCard, weights: str) -> str:
        """What truly makes the output of a model sold there, each maker once."""
        done = self._catalog.storefronts[storefront].default_model
        return self.makers(card, [each for each in card.operations if each in done], weights)

    def makers(self, card: ModelCard, operations: Iterable[str], weights: str) -> str:
        """What truly makes the output of a model asked for these operations, each maker once;
        empty where nothing can."""
        runners = (self.runner(card, each) for each in operations)
        makers = (self._maker(runner, weights) for runner in runners if runner is not None)
        return ", ".join(dict.fromkeys(makers))

    def _maker(self, runner: ModelCard, weights: str) -> str:
        if runner.is_hosted:
            return served_by(runner.id, self._upstreams[runner.id])
        return runner.served_by(weights)

    def _may_run(self, card: ModelCard) -> bool:
        if card.is_hosted:
            return card.id in self._upstreams
        return not (card.non_commercial and self._commercial_only)


def narrowed(card: ModelCard, shop: Storefront) -> ModelCard:
    """The card with the limits that a storefront's customers were promised."""
    tighter = {
        name: spec.model_copy(update={"min": bounds[0], "max": bounds[1]})
        for name, bounds in shop.bounds.items()
        if (spec := card.params.get(name)) is not None
    }
    return card.model_copy(update={"params": {**card.params, **tighter}}) if tighter else card
