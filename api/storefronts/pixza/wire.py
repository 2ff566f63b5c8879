"""The shapes on the wire, as the documentation shows them.

What is enforced is the catalogue's (``farm/parameters.py``); the request schemas here are made
from the same cards, so that a range is written once.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from api.param_shapes import SubmitHeaders, param_field, webhook_field
from api.queries import CURSOR_MAX
from api.storefronts.pixza.translate import LIMIT, LIMIT_MAX, PARAMS, PICTURE, WAYS
from farm.cards import ModelCard
from farm.intake.urls import URL_MAX
from farm.offers import Offers

_EXAMPLE: dict[str, Any] = {
    "type": "image",
    "prompt": "a white ring left of an orange triangle on a black background",
    "width": 768,
    "seed": 7,
}
_WAIT_NOTE = "`respond-async`: answer at once, whatever is made."
_WEBHOOK_NOTE = "An https URL that is sent the finished generation once, signed, as it is here."
_URL_PATTERN = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+$"


def generate_request(offers: Offers, storefront: str) -> type[BaseModel]:
    """The body of ``POST /generate``: a variant for each model and way to use it."""
    variants = [
        _variant(
            card, type_, operation, is_default=card.id == offers.default(storefront, operation)
        )
        for type_, ways in WAYS.items()
        for operation in (ways.from_words, ways.from_picture)
        if operation is not None
        for card in offers.sold(storefront, operation)
    ]
    union: Any = reduce(or_, variants)
    config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    body = {"__doc__": "What to generate.", "model_config": config}
    return type("Generate", (RootModel[union],), body)


def _variant(card: ModelCard, type_: str, operation: str, *, is_default: bool) -> type[BaseModel]:
    names: Any = Literal.__getitem__((card.id, *card.aliases))
    kind: Any = Literal.__getitem__((type_,))
    from_picture = operation == WAYS[type_].from_picture
    fields: dict[str, Any] = {
        "type": (kind, ...),
        "model": (names | None, None) if is_default else (names, ...),
    }
    if from_picture:
        note = "The URL of a JPEG, PNG or WebP to work from."
        fields[PICTURE] = (
            str,
            Field(min_length=1, max_length=URL_MAX, pattern=_URL_PATTERN, description=note),
        )
    else:
        fields[PICTURE] = (None, Field(default=None, description="Not taken here."))
    params = card.params_of(operation)
    fields |= {name: param_field(card, name, params[name]) for name in PARAMS if name in params}
    words = "from a picture" if from_picture else "from words"
    made: type[BaseModel] = create_model(
        f"Generate-{operation}-{card.id}".replace(".", "_"),
        __config__=ConfigDict(title=f"{card.title}, {words}", extra="ignore"),
        __doc__=f"{type_.capitalize()} {words} by {card.title}.",
        **fields,
        webhook_url=webhook_field(note=_WEBHOOK_NOTE),
    )
    return made


class GenerateHeaders(SubmitHeaders):
    """Headers of a request that generates."""

    prefer: str | None = Field(default=None, alias="Prefer", description=_WAIT_NOTE)


class PageQuery(BaseModel):
    """Which part of the history."""

    limit: int = Field(default=LIMIT, ge=1, le=LIMIT_MAX)
    cursor: int | None = Field(
        default=None, ge=1, le=CURSOR_MAX, description="The `next_cursor` of the page before."
    )


class Progress(BaseModel):
    """The model's own steps."""

    step: int = Field(ge=0)
    steps: int = Field(ge=0)


class Receipt(BaseModel):
    """What became of the price: held at submit, then charged or returned."""

    held: float
    charged: float
    returned: float
    price_rule: str


class Generation(BaseModel):
    """A generation and how it stands."""

    id: str = Field(pattern="^gen_[0-9a-f]{32}$")
    status: Literal["queued", "processing", "completed", "failed", "blocked", "cancelled"]
    type: Literal["image", "video", "3d"]
    model: str
    prompt: str
    output_url: str | None = Field(
        description="Once completed; valid for 24 hours. A 3D model is binary glTF (.glb)."
    )
    width: int | None = Field(description="Pixels; null where there are none, or not known yet.")
    height: int | None
    credits_used: float = Field(ge=0, description="0 where it ended without success.")
    created_at: str = Field(description="RFC 3339, UTC.")
    completed_at: str | None = None
    processing_ms: int | None = None
    seed: int | None = None
    served_by: str | None = Field(default=None, description="What truly made it.")
    error: str | None = Field(default=None, description="Why there is no output: a word,")
    message: str | None = Field(default=None, description="and a sentence.")
    attempts: int | None = None
    queue_position: int | None = Field(default=None, ge=1, description="1 is the next.")
    eta_seconds: float | None = Field(
        default=None, ge=0, description="Seconds until it is done; left out when not known."
    )
    progress: Progress | None = None
    cancel_requested_at: str | None = None
    worker_freed_at: str | None = Field(
        default=None, description="When the worker of a job that was cancelled had stopped."
    )
    receipt: Receipt | None = None
    warnings: list[str] | None = Field(default=None, description="Fields that were not used.")


class Generations(BaseModel):
    """A page of the history, newest first."""

    generations: list[Generation]
    next_cursor: int | None = Field(description="Null on the last page.")


class PricedModel(BaseModel):
    """One model, and what it costs."""

    id: str
    type: Literal["image", "video", "3d"]
    credits: float
    description: str
    served_by: str = Field(description="What truly makes the output.")


class Models(BaseModel):
    """Every model there is here."""

    models: list[PricedModel]


class Credits(BaseModel):
    """What can be spent now."""

    credits_remaining: float
    plan: str


class Problem(BaseModel):
    """Every error: a word for programs and a sentence for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": "validation_error",
                    "message": "width: must be from 256 to 2048, got 64.",
                }
            ]
        }
    )

    error: Literal[
        "unauthorized",
        "forbidden",
        "insufficient_credits",
        "not_found",
        "method_not_allowed",
        "conflict",
        "validation_error",
        "rate_limited",
        "server_error",
    ]
    message: str
    credits_remaining: float | None = Field(default=None, description="With insufficient_credits.")


def _problems(statuses: dict[int, str]) -> dict[str, Any]:
    return {f"HTTP_{status}": (Problem, meaning) for status, meaning in statuses.items()}


_ANY_CALL = {
    401: "No key, or one that is not known here.",
    403: "The account is blocked, or the User-Agent refused.",
    429: "Too many calls this minute; Retry-After says when to come back.",
    503: "The farm is busy or its database away; Retry-After. Nothing was charged.",
}
READ_ERRORS = _problems(_ANY_CALL)
ONE_ERRORS = _problems({**_ANY_CALL, 404: "No such id in this account."})
QUERY_ERRORS = _problems({**_ANY_CALL, 422: "A query field is out of range."})
SUBMIT_ERRORS = _problems(
    {
        **_ANY_CALL,
        402: "Not enough credits; `credits_remaining` says how many there are.",
        409: "The first request with this Idempotency-Key is still being answered.",
        422: "The body cannot be read or is too large, or a field of it is wrong.",
        429: "Too many calls, or as many jobs queued and running as the plan allows; Retry-After "
        "says when to come back.",
        503: "The farm is busy, the model's queue full or the database away; Retry-After. Nothing "
        "was charged.",
    }
)
