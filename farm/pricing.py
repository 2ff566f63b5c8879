"""What a request costs. Pure: a price book and a request in, tenths of a credit out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farm.catalog import Storefront
from farm.errors import FieldError, InvalidRequest
from farm.types import CREDIT_TENTHS


@dataclass(frozen=True, slots=True)
class Quote:
    """A frozen price: tenths of a credit, and the rule that gave it (for the receipt)."""

    tenths: int
    rule: str


def quote(
    storefront: Storefront,
    model: str,
    params: Mapping[str, Any],
    words: Mapping[str, Any] | None = None,
) -> Quote:
    """Price one request from the storefront's book.

    ``params["duration"]`` is in seconds, ``params["resolution"]`` a name of the book;
    ``words`` are the request's own words, of which the book's factors may know some.

    Raises:
        InvalidRequest: the book has no price for the model, duration or resolution.
    """
    plain = _plain_quote(storefront, model, params)
    for field, factors in storefront.factors.items():
        word = (words or {}).get(field)
        factor = factors.get(word, 1) if isinstance(word, str) else 1
        if factor > 1:
            plain = Quote(plain.tenths * factor, f"{plain.rule} x {factor} for {field} {word}")
    return plain


def _plain_quote(storefront: Storefront, model: str, params: Mapping[str, Any]) -> Quote:
    price = storefront.prices.get(model)
    if price is None:
        raise InvalidRequest([FieldError("model", f"{model!r} is not sold here.")])
    if price.credits is not None:
        return _quote(price.credits, model)
    if price.by_duration:
        duration_s = float(params["duration"])
        for tier in price.by_duration:
            if duration_s <= tier.up_to_s:
                return _quote(tier.credits, f"{model} up to {tier.up_to_s:g} s")
        longest_s = price.by_duration[-1].up_to_s
        raise InvalidRequest([FieldError("duration", f"must be at most {longest_s:g} seconds.")])
    resolution = params["resolution"]
    if resolution not in price.by_resolution:
        names = ", ".join(price.by_resolution)
        raise InvalidRequest([FieldError("resolution", f"must be one of {names}.")])
    return _quote(price.by_resolution[resolution], f"{model} {resolution}")


def _quote(credits: float, rule: str) -> Quote:
    return Quote(tenths=round(credits * CREDIT_TENTHS), rule=f"{rule}: {credits:g}")
