"""Requests that bring pictures along: which model they mean, and what it is to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from api.callback import Problems
from api.forms import Fields
from api.storefronts.pixapi import orders, sources
from api.storefronts.pixapi.orders import EDITS, PATHS, Order
from farm.cards import ModelCard
from farm.errors import FieldError, InvalidRequest
from farm.intake.urls import FetchPolicy
from farm.offers import Offers

EDIT = tuple(operation for operation, path in PATHS.items() if path == EDITS)
FILM, FILM_FROM_IMAGE = "video", "image-to-video"
TEXT_BYTES_MAX = 4 * 32_000 + 4096
"""Of one text of a form: the longest prompt there is, or a URL."""

_LISTS = (sources.IMAGE, sources.MASK)


def decode_edit(
    fields: Fields, offers: Offers, policy: FetchPolicy
) -> tuple[Order, Mapping[str, sources.Sent]]:
    """The body of a request to change pictures, and those pictures.

    Raises:
        InvalidRequest: naming every field that is missing, of the wrong type or out of range.
        TooLarge: a data URL is longer than the picture may be.
    """
    offer = orders.find_offer(offers, fields.values, EDIT, required=False)
    found, problems = Problems(), _problems(fields)
    sent: Mapping[str, sources.Sent] = {}
    order = Order(offer, {})
    with found.gathered():
        order = orders.decode_pictures(
            fields.values, offer, policy, is_form=fields.is_form, more=_LISTS
        )
    with found.gathered():
        sent = sources.decode_sources(fields, offer, policy)
    with found.gathered():
        if not found.errors:
            _check_one_of(offer.card, order, sent)
    if problems or found.errors:
        raise InvalidRequest(problems + found.errors)
    return order, sent


def decode_film(
    fields: Fields, offers: Offers, policy: FetchPolicy
) -> tuple[Order, Mapping[str, sources.Sent]]:
    """The body of a request for a film, and the picture that it begins with, if any.

    Raises:
        InvalidRequest: as above; or the model makes films of words only and there is a picture,
            or from a picture only and there is none.
        TooLarge: a data URL is longer than the picture may be.
    """
    has_image = bool(
        fields.lists.get(sources.IMAGE) if fields.is_form else fields.values.get(sources.IMAGE)
    )
    wanted, other = (FILM_FROM_IMAGE, FILM) if has_image else (FILM, FILM_FROM_IMAGE)
    offer = orders.find_offer(offers, fields.values, (wanted, other), required=True)
    if offer.operation != wanted:
        raise InvalidRequest([_not_so(offers, offer.sold, has_image=has_image)])
    found, problems = Problems(), _problems(fields)
    sent: Mapping[str, sources.Sent] = {}
    order = Order(offer, {})
    with found.gathered():
        order = orders.decode_film(
            fields.values, offer, policy, is_form=fields.is_form, more=(sources.IMAGE,)
        )
    if has_image:
        with found.gathered():
            sent = sources.decode_sources(fields, offer, policy)
    if problems or found.errors:
        raise InvalidRequest(problems + found.errors)
    return order, sent


def _problems(fields: Fields) -> list[FieldError]:
    """What is wrong with the parts of a form, but for those that nobody knows."""
    known = (*orders.PICTURE_FIELDS, *orders.FILM_FIELDS)
    return [FieldError(n, text) for n, text in fields.problems.items() if n in known]


def _not_so(offers: Offers, sold: ModelCard, *, has_image: bool) -> FieldError:
    wanted = FILM_FROM_IMAGE if has_image else FILM
    names = ", ".join(card.id for card in offers.sold(orders.STOREFRONT, wanted))
    if has_image:
        return FieldError(
            sources.IMAGE, f"is not taken by {sold.id}. Models that begin with an image: {names}."
        )
    return FieldError(
        sources.IMAGE, f"is required by {sold.id}. Models that need no image: {names}."
    )


def _check_one_of(card: ModelCard, order: Order, sent: Mapping[str, sources.Sent]) -> None:
    names = card.needs_one_of
    if names and not any(name in sent or order.params.get(name) for name in names):
        message = f"is missing. {card.id} needs at least one of {', '.join(names)}."
        raise InvalidRequest([FieldError(names[0], message)])
