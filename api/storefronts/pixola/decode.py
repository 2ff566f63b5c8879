"""What clients send, as the farm's own requests. Pure: no clock, no I/O, no Flask."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from api.callback import FIELD, Problems, decode_webhook
from api.queries import CURSOR_MAX, whole_number
from api.storefronts.pixola.ids import read_batch_id
from api.storefronts.pixola.wire import (
    BATCHES_DEFAULT,
    COUNT_MAX,
    IMAGES_DEFAULT,
    LIMIT_MAX,
    STOREFRONT,
)
from api.strangers import not_known
from farm.errors import FieldError, InvalidRequest, NotFound
from farm.intake.urls import FetchPolicy
from farm.offers import Offer, Offers
from farm.parameters import type_name
from farm.styles import NO_STYLE, OPERATION, SQUARE, STANDARD, Look, StyleBook
from farm.types import JobRequest

_WEBHOOK = "webhookUrl"
_KNOWN = ("prompt", "model", "style", "shape", "quality", "count", "seed", FIELD, _WEBHOOK)


class Page(NamedTuple):
    """Which part of a list: at most ``limit`` rows, those numbered below ``before``."""

    limit: int
    before: int | None


def decode_generate(
    body: Mapping[str, Any], offers: Offers, book: StyleBook, policy: FetchPolicy
) -> list[JobRequest]:
    """The body of ``POST /generate``: one job for each image of the batch.

    Raises:
        InvalidRequest: naming every field that is missing, of the wrong type or out of range.
    """
    problems = Problems()
    offer = offers.find(STOREFRONT, OPERATION)
    with problems.gathered():
        offer = offers.find(STOREFRONT, OPERATION, _word(body, "model"))
    look, words = _look(body, book, problems)
    count, webhook_url = 1, None
    with problems.gathered():
        count = _count(body.get("count"))
    with problems.gathered():
        webhook_url = decode_webhook(_webhook(body), policy)
    params: dict[str, Any] = {}
    with problems.gathered():
        params = look.params(offer.card, body.get("prompt"), body.get("seed"))
    problems.check()
    about = {"prompt": body["prompt"], **words}
    return [
        JobRequest(
            offer.card.id,
            OPERATION,
            params | _seed(offer, params, place),
            not_known(body, _KNOWN),
            webhook_url=webhook_url,
            sold_as=offer.sold_as,
            about=about,
        )
        for place in range(count)
    ]


def decode_batches_query(query: Mapping[str, str]) -> Page:
    """The page of ``GET /batches``. Raises InvalidRequest."""
    return _page(query, BATCHES_DEFAULT)


def decode_images_query(query: Mapping[str, str]) -> Page:
    """The page of ``GET /images``. Raises InvalidRequest."""
    return _page(query, IMAGES_DEFAULT)


def decode_batch_filter(query: Mapping[str, str]) -> uuid.UUID | None:
    """The first job of the batch whose images are wanted, or None for all images.

    Raises:
        InvalidRequest: it is no batch's id.
    """
    text = query.get("batchId")
    if not text:
        return None
    try:
        return read_batch_id(text).job_id
    except NotFound as error:
        message = f"{text[:60]!r} is not a batch's id."
        raise InvalidRequest([FieldError("batchId", message)]) from error


def decode_favorite(body: Mapping[str, Any]) -> bool:
    """The body of ``PATCH /images/{imageId}``. Raises InvalidRequest."""
    value = body.get("isFavorite")
    if not isinstance(value, bool):
        got = "nothing" if "isFavorite" not in body else type_name(value)
        message = f"must be true or false, got {got}."
        raise InvalidRequest([FieldError("isFavorite", message)])
    return value


def _look(
    body: Mapping[str, Any], book: StyleBook, problems: Problems
) -> tuple[Look, dict[str, str]]:
    """The look that is asked for, and its names; the defaults' in place of what is wrong."""
    style, shape = book.styles[NO_STYLE], book.shapes[SQUARE]
    quality, name = book.qualities[STANDARD], STANDARD
    with problems.gathered():
        style = book.style(_word(body, "style") or NO_STYLE)
    with problems.gathered():
        shape = book.shape(_word(body, "shape") or SQUARE)
    with problems.gathered():
        name = _word(body, "quality") or STANDARD
        quality = book.quality(name)
    return Look(style, shape, quality), {"style": style.id, "shape": shape.id, "quality": name}


def _seed(offer: Offer, params: Mapping[str, Any], place: int) -> dict[str, int]:
    """Images of one batch differ: from a given seed on they count up."""
    if place == 0 or "seed" not in params:
        return {}
    return {"seed": (params["seed"] + place) % (int(offer.card.params["seed"].max) + 1)}


def _word(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidRequest([FieldError(name, f"must be text, not {type_name(value)}.")])


def _count(value: Any) -> int:
    if value is None:
        return 1
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= COUNT_MAX:
        return value
    got = repr(value)[:40] if isinstance(value, int | float) else type_name(value)
    message = f"must be a whole number from 1 to {COUNT_MAX}, got {got}."
    raise InvalidRequest([FieldError("count", message)])


def _webhook(body: Mapping[str, Any]) -> Any:
    """Both spellings are known: the farm's own, and the one that this dialect's clients expect."""
    given = [body[name] for name in (FIELD, _WEBHOOK) if body.get(name) is not None]
    if len(given) > 1 and given[0] != given[1]:
        message = f"says something else than {_WEBHOOK}. Send one of them."
        raise InvalidRequest([FieldError(FIELD, message)])
    return given[0] if given else None


def _page(query: Mapping[str, str], default: int) -> Page:
    # A page that is asked for with an empty field is the first one, in the usual length.
    limit, cursor = (query.get(name) or None for name in ("limit", "cursor"))
    problems: list[FieldError] = []
    found = whole_number(limit, "limit", 1, LIMIT_MAX, problems)
    before = whole_number(cursor, "cursor", 1, CURSOR_MAX, problems)
    if problems:
        raise InvalidRequest(problems)
    return Page(found or default, before)
