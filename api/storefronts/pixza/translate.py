"""The dialect's words for the farm's things, both ways. Pure: no clock, no I/O, no Flask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from api.callback import FIELD as WEBHOOK
from api.callback import Problems, decode_webhook
from api.queries import CURSOR_MAX, whole_number
from api.strangers import not_known
from farm.accounts import Account
from farm.cards import ModelCard
from farm.catalog import Storefront
from farm.errors import (
    FarmError,
    FarmFault,
    FieldError,
    Forbidden,
    InsufficientCredits,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from farm.intake.urls import FetchPolicy, check_url
from farm.offers import Offer, Offers
from farm.parameters import resolve, type_name
from farm.storage import UrlSigner
from farm.submission import Submission
from farm.types import JobRequest, RemotePicture
from farm.views import JobView
from farm.webhooks.pixza import TYPES, generation, outline
from farm.words import output_url, plain_credits

PICTURE = "input_image"
PARAMS = ("prompt", "width", "height", "steps", "seed")
FIELDS = ("type", "model", PICTURE, *PARAMS, WEBHOOK)
"""Every field of a request."""
LIMIT, LIMIT_MAX = 20, 100

STATUSES = {"malformed": 422, "too_large": 422, "unreadable_image": 422}
"""A body that cannot be read is as wrong as one of its fields, here."""


class Ways(NamedTuple):
    """The operations by which a type is made: from words, and from a picture (or none)."""

    from_words: str
    from_picture: str | None


WAYS: Mapping[str, Ways] = {
    "image": Ways("generate", "edit"),
    "video": Ways("video", "image-to-video"),
    "3d": Ways("3d", None),
}
_DONE = {
    "generate": "images from words",
    "edit": f"images from a picture ({PICTURE})",
    "video": "video from words",
    "image-to-video": f"video from a picture ({PICTURE})",
    "3d": "3D models (binary glTF) from words",
}


def decode_generate(
    body: Mapping[str, Any], offers: Offers, storefront: str, policy: FetchPolicy
) -> JobRequest:
    """The body of ``POST /generate`` as a job.

    Raises:
        InvalidRequest: naming every field that is missing, of the wrong type, out of range or
            contradictory.
    """
    type_ = _type(body.get("type"))
    problems = Problems()
    picture: str | None = None
    webhook_url: str | None = None
    params: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    with problems.gathered():
        picture = _picture(body.get(PICTURE), policy)
    with problems.gathered():
        webhook_url = decode_webhook(body.get(WEBHOOK), policy)
    has_picture = body.get(PICTURE) is not None
    offer = _offer(body.get("model"), type_, has_picture, offers, storefront, problems)
    known = offer.card.params_of(offer.operation)
    with problems.gathered():
        given = {name: body[name] for name in PARAMS if name in known and name in body}
        params, warnings = resolve(offer.card, given, offer.operation)
    problems.check()
    unused = (n for n in PARAMS if n not in known and body.get(n) is not None)
    warnings += tuple(f"{name} is not used by {offer.sold.id}." for name in unused)
    warnings += not_known(body, FIELDS)
    return JobRequest(
        offer.card.id,
        offer.operation,
        params,
        warnings,
        inputs={} if picture is None else {"image": RemotePicture(picture)},
        webhook_url=webhook_url,
        sold_as=offer.sold_as,
    )


def _type(value: Any) -> str:
    if value is None:
        raise _problem("type", f"is required: one of {', '.join(WAYS)}.")
    if not isinstance(value, str) or value not in WAYS:
        shown = f"got {value[:40]!r}" if isinstance(value, str) else f"not {type_name(value)}"
        raise _problem("type", f"must be one of {', '.join(WAYS)}, {shown}.")
    return value


def _picture(value: Any, policy: FetchPolicy) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _problem(PICTURE, f"must be the URL of a picture, not {type_name(value)}.")
    return check_url(value, PICTURE, policy)


def _offer(
    name: Any,
    type_: str,
    has_picture: bool,
    offers: Offers,
    storefront: str,
    problems: Problems,
) -> Offer:
    """The model that is meant. Raises InvalidRequest, with what was found before."""
    try:
        if name is not None and not isinstance(name, str):
            raise _problem("model", f"must be text, not {type_name(name)}.")
        return _fitting(name, type_, has_picture, offers, storefront)
    except InvalidRequest as error:
        raise InvalidRequest([*problems.errors, *error.errors]) from error


def _fitting(
    name: str | None, type_: str, has_picture: bool, offers: Offers, storefront: str
) -> Offer:
    ways = WAYS[type_]
    operation = ways.from_picture if has_picture else ways.from_words
    if operation is None:
        raise _problem(PICTURE, f"is not taken for type {type_}, which is made from words alone.")
    try:
        return offers.find(storefront, operation, name)
    except InvalidRequest:
        if name is not None:
            _explain(name, type_, operation, offers, storefront)
        raise


def _explain(name: str, type_: str, operation: str, offers: Offers, storefront: str) -> None:
    """Raise InvalidRequest, saying whether the model is none, of another type, or works
    otherwise."""
    sold = [card for card in offers.sold(storefront) if types_of(card)]
    card = next((c for c in sold if name == c.id or name in c.aliases), None)
    fitting = ", ".join(c.id for c in sold if type_ in types_of(c))
    if card is None:
        raise _problem(
            "model", f"{name[:64]!r} is not a model here. For {type_} choose one of {fitting}."
        )
    if type_ not in types_of(card):
        raise _problem(
            "model",
            f"{card.id} does not fit type {type_}: it makes {' and '.join(types_of(card))}. "
            f"Choose one of {fitting}.",
        )
    if not card.does(operation):
        able = ", ".join(c.id for c in sold if c.does(operation))
        if operation == WAYS[type_].from_picture:
            sentence = f"is not taken by {card.id}. Leave it out, or choose one of {able}."
        else:
            sentence = f"is required by {card.id}: the URL of a picture to work from."
        raise _problem(PICTURE, sentence)


def types_of(card: ModelCard) -> tuple[str, ...]:
    """What a model makes, in this storefront's words."""
    return tuple(dict.fromkeys(TYPES[each] for each in card.operations if each in TYPES))


def prefers_async(header: str) -> bool:
    """Whether a Prefer header (RFC 7240) asks to be answered without a wait."""
    names = (item.partition(";")[0].strip().lower() for item in header.split(","))
    return "respond-async" in names


def encode_submission(made: Submission, job: JobRequest) -> dict[str, Any]:
    """The object of a job that was just accepted."""
    answer = outline(
        job_id=made.job_id,
        state=made.state,
        operation=made.operation,
        model=made.model,
        params=job.params,
        credits_tenths=made.price_tenths,
        created_at=made.created_at,
    )
    return answer | {"warnings": list(made.warnings)} if made.warnings else answer


def encode_job(
    jobs: Sequence[JobView], agent: str, signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """The object of one job, and where it stands. Every client knows the same words."""
    [job] = jobs
    answer = generation(job, output_url(job, signer, public_url))
    return answer if job.place is None else answer | job.place.told()


def decode_page(query: Mapping[str, str]) -> tuple[int, int | None]:
    """``limit`` (1 to 100, default 20) and ``cursor`` (a ``next_cursor``). Raises
    InvalidRequest."""
    problems: list[FieldError] = []
    limit = whole_number(query.get("limit"), "limit", 1, LIMIT_MAX, problems)
    cursor = whole_number(query.get("cursor"), "cursor", 1, CURSOR_MAX, problems)
    if problems:
        raise InvalidRequest(problems)
    return LIMIT if limit is None else limit, cursor


def encode_page(
    jobs: Sequence[JobView], limit: int, signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """A page of the history; of ``jobs`` one more than the page has, where there is one."""
    shown = jobs[:limit]
    return {
        "generations": [encode_job([job], "", signer, public_url) for job in shown],
        "next_cursor": shown[-1].seq if len(jobs) > limit else None,
    }


def encode_credits(account: Account) -> dict[str, Any]:
    """What can be spent now."""
    return {
        "credits_remaining": plain_credits(account.available_tenths),
        "plan": account.plan,
    }


def encode_models(offers: Offers, shop: Storefront, weights: str) -> dict[str, Any]:
    """What is sold here; a model that makes two types is listed under its first."""
    return {
        "models": [
            {
                "id": card.id,
                "type": types_of(card)[0],
                "credits": plain_credits(shop.prices[card.id].least_tenths),
                "description": _description(card, shop),
                "served_by": offers.served_by(shop.id, card, weights),
            }
            for card in offers.sold(shop.id)
            if types_of(card)
        ]
    }


def _description(card: ModelCard, shop: Storefront) -> str:
    done = [_DONE[each] for each in card.operations if each in shop.default_model]
    return f"{card.title}: {', '.join(done)}."


def endpoint(card: ModelCard) -> str:
    """Where every model is asked for."""
    return "/pixza/api/v1/generate"


def render_error(error: FarmError, pricing_url: str) -> dict[str, Any]:
    """The body of an error answer: a word and a sentence."""
    answer: dict[str, Any] = {"error": _word(error), "message": str(error)}
    if isinstance(error, InsufficientCredits):
        answer["message"] = f"{error} Upgrade at {pricing_url}/pricing"
        answer["credits_remaining"] = plain_credits(error.available_tenths)
    return answer


_WORDS: Sequence[tuple[type[FarmError], str]] = (
    (Unauthenticated, "unauthorized"),
    (Forbidden, "forbidden"),
    (InsufficientCredits, "insufficient_credits"),
    (NotFound, "not_found"),
    (MethodNotAllowed, "method_not_allowed"),
    (RateLimited, "rate_limited"),
    (FarmFault, "server_error"),
)


def _word(error: FarmError) -> str:
    if error.code in ("already_ended", "idempotency_in_flight"):
        return "conflict"
    return next((word for kind, word in _WORDS if isinstance(error, kind)), "validation_error")


def _problem(field: str, message: str) -> InvalidRequest:
    return InvalidRequest([FieldError(field, message)])
