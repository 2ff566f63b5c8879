"""What a request asks for, whatever its path: a model, parameters, how many. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.callback import FIELD as WEBHOOK
from api.callback import Problems, decode_webhook
from api.storefronts.pixapi import sizes
from api.strangers import not_known
from farm.cards import ModelCard, ParamSpec
from farm.errors import FieldError, InvalidRequest
from farm.intake.urls import FetchPolicy
from farm.offers import Offer, Offers
from farm.parameters import resolve, type_name
from farm.types import JobRequest, Picture, RemotePicture

STOREFRONT = "pixapi"
N_MAX = 4
QUALITIES = ("standard", "hd", "low", "medium", "high", "auto")
FINE = ("hd", "high")
"""The qualities for which a model does more."""
FINE_STEPS = 2
"""How many times the steps that it does else, as far as it goes; the catalogue's factor for the
price is the same."""
STANDARD = "standard"
ANSWERS = ("url", "b64_json")

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
FILMS = "/v1/async/videos/generations"
PATHS = {
    "generate": GENERATIONS,
    "edit": EDITS,
    "remove-background": EDITS,
    "replace-background": EDITS,
    "restore-face": EDITS,
    "remove-object": EDITS,
    "upscale": EDITS,
    "video": FILMS,
    "image-to-video": FILMS,
}
"""Where each operation is asked for."""
_COMMON = ("model", "prompt", "n", "response_format", "output_format", "seed", "user", WEBHOOK)
PICTURE_FIELDS = (*_COMMON, "size", "quality")
FILM_FIELDS = (
    *("model", "prompt", "seed", "user", WEBHOOK),
    *("seconds", "duration", "size", "resolution", "negative_prompt"),
)


@dataclass(frozen=True, slots=True)
class Order:
    """A request of which everything but the pictures is decided.

    ``count`` jobs are made of it; ``as_base64`` is how whoever waits wants the pictures.
    """

    offer: Offer
    params: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    count: int = 1
    about: Mapping[str, Any] | None = None
    webhook_url: str | None = None
    as_base64: bool = False

    def jobs(self, inputs: Mapping[str, Picture | RemotePicture] | None = None) -> list[JobRequest]:
        """The jobs: one for each result, with seeds that follow one another."""
        card = self.offer.card
        return [
            JobRequest(
                card.id,
                self.offer.operation,
                self._params(place),
                self.warnings,
                inputs or {},
                self.webhook_url,
                self.offer.sold_as,
                self.about or {},
            )
            for place in range(self.count)
        ]

    def _params(self, place: int) -> Mapping[str, Any]:
        seed = self.params.get("seed")
        if not place or seed is None:
            return self.params
        spec = self.offer.card.params["seed"]
        least, seeds = int(spec.min), int(spec.max - spec.min) + 1
        return {**self.params, "seed": (seed - least + place) % seeds + least}


def find_offer(
    offers: Offers, values: Mapping[str, Any], operations: Sequence[str], *, required: bool
) -> Offer:
    """The model that a request means, for the first of these operations that it does; the
    first operation's default where it names none and need not.

    Raises:
        InvalidRequest: it names none, or none that does this; then the sentence says where the
            model is asked for.
    """
    name = values.get("model")
    if name is None and not required:
        return offers.find(STOREFRONT, operations[0])
    if not isinstance(name, str):
        message = "is required." if name is None else f"must be text, not {type_name(name)}."
        raise InvalidRequest([FieldError("model", message)])
    with contextlib.suppress(InvalidRequest):
        return offers.find(STOREFRONT, operations[0], name)  # the usual one, found before
    sold = next((c for c in offers.sold(STOREFRONT) if name in (c.id, *c.aliases)), None)
    if sold is None:
        names = [c.id for c in offers.sold(STOREFRONT) if set(operations) & set(c.operations)]
        message = f"{name[:64]!r} is not a model here. Choose one of {', '.join(names)}."
        raise InvalidRequest([FieldError("model", message)])
    for operation in operations[1:]:
        if sold.does(operation):
            return offers.find(STOREFRONT, operation, name)
    paths = dict.fromkeys(PATHS.get(each, sold.endpoint) for each in sold.operations)
    message = f"{sold.id} is not for this path. Send it to {' or '.join(paths)}."
    raise InvalidRequest([FieldError("model", message)])


def decode_pictures(
    values: Mapping[str, Any],
    offer: Offer,
    policy: FetchPolicy,
    *,
    is_form: bool = False,
    more: Sequence[str] = (),
) -> Order:
    """The body of a request for pictures, new or changed.

    Args:
        is_form: numbers are texts.
        more: fields that are known beside those that every request for pictures may have.

    Raises:
        InvalidRequest: naming every field that is missing, of the wrong type or out of range.
    """
    card, operation = offer.card, offer.operation
    specs = card.params_of(operation)
    found = Problems()
    count, as_base64, quality, webhook_url = 1, False, STANDARD, None
    given: dict[str, Any] = {}
    params: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    with found.gathered():
        count = decode_whole(values, "n", 1, N_MAX, is_form=is_form) or 1
    with found.gathered():
        given = sizes.decode_size(values.get("size"), specs)
        if given and "width" not in specs:
            warnings += (f"size is not used by {card.id}.",)
            given = {}
    with found.gathered():
        as_base64 = decode_word(values, "response_format", ANSWERS, "url") == "b64_json"
    with found.gathered():
        quality = decode_word(values, "quality", QUALITIES, STANDARD)
        given |= _finer(quality, specs)
    with found.gathered():
        given |= _texts_and_seed(values, card, operation, is_form=is_form)
        params, notes = resolve(card, given, operation)
        warnings += notes
    with found.gathered():
        webhook_url = decode_webhook(values.get(WEBHOOK), policy)
    found.check()
    if quality in FINE and "steps" not in given:
        warnings += (f"{card.id} has one quality: {quality} is not used, and not paid.",)
        quality = STANDARD
    warnings += not_known(values, (*PICTURE_FIELDS, *more))
    about = {} if quality == STANDARD else {"quality": quality}
    return Order(offer, params, warnings, count, about, webhook_url, as_base64)


def decode_film(
    values: Mapping[str, Any],
    offer: Offer,
    policy: FetchPolicy,
    *,
    is_form: bool = False,
    more: Sequence[str] = (),
) -> Order:
    """The body of a request for a film. Arguments and errors as of :func:`decode_pictures`."""
    card, operation = offer.card, offer.operation
    specs = card.params_of(operation)
    found = Problems()
    wire = {"duration": "seconds", "resolution": "resolution"}
    given: dict[str, Any] = {}
    params: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    webhook_url: str | None = None
    with found.gathered():
        given["duration"], wire["duration"] = sizes.decode_seconds(values)
    with found.gathered():
        given["resolution"], wire["resolution"] = sizes.decode_resolution(
            values, specs["resolution"]
        )
    with found.gathered():
        given |= _texts_and_seed(values, card, operation, is_form=is_form)
        try:
            params, warnings = resolve(card, given, operation)
        except InvalidRequest as error:
            renamed = [FieldError(wire.get(e.field, e.field), e.message) for e in error.errors]
            raise InvalidRequest(renamed) from error
    with found.gathered():
        webhook_url = decode_webhook(values.get(WEBHOOK), policy)
    found.check()
    warnings += not_known(values, (*FILM_FIELDS, *more))
    return Order(offer, params, warnings, webhook_url=webhook_url)


def decode_whole(
    values: Mapping[str, Any], field: str, least: int, most: int, *, is_form: bool
) -> int | None:
    """A whole number; None where there is none. Raises InvalidRequest."""
    value = values.get(field)
    if value is None or (is_form and value == ""):
        return None
    if is_form and isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int):
        got = f"got {value!r:.40}" if isinstance(value, str | float) else f"not {type_name(value)}"
        raise InvalidRequest([FieldError(field, f"must be a whole number, {got}.")])
    if not least <= value <= most:
        message = f"must be from {least} to {most}, got {value!r:.40}."
        raise InvalidRequest([FieldError(field, message)])
    return value


def decode_word(values: Mapping[str, Any], field: str, words: Sequence[str], default: str) -> str:
    """One of a few words. Raises InvalidRequest."""
    value = values.get(field)
    if value is None or value == "":
        return default
    if isinstance(value, str) and value in words:
        return value
    message = f"must be one of {', '.join(words)}, got {value!r:.40}."
    raise InvalidRequest([FieldError(field, message)])


def _texts_and_seed(
    values: Mapping[str, Any], card: ModelCard, operation: str, *, is_form: bool
) -> dict[str, Any]:
    """The fields that are called here as the model calls them."""
    specs = card.params_of(operation)
    given: dict[str, Any] = {}
    for name in ("prompt", "negative_prompt", "output_format"):
        spec = specs.get(name)
        if spec is not None and name in values:
            # Clients that must send a prompt send an empty one where none is needed.
            empty = values[name] == "" and not spec.required
            given[name] = None if empty else values[name]
    seed = specs.get("seed")
    if seed is not None:
        given["seed"] = decode_whole(values, "seed", int(seed.min), int(seed.max), is_form=is_form)
    return given


def _finer(quality: str, specs: Mapping[str, ParamSpec]) -> dict[str, int]:
    """The steps of a fine picture, where the model can do more than it usually does."""
    steps = specs.get("steps")
    if quality not in FINE or steps is None or not isinstance(steps.default, int):
        return {}
    if steps.default >= steps.max:
        return {}
    return {"steps": min(FINE_STEPS * steps.default, int(steps.max))}
