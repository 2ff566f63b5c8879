"""The shapes on the wire, as the documentation shows them.

What is enforced is the catalogue's (``farm/parameters.py``); the request schemas here are
made from the same cards, so that a range is written once. ``tests/api/test_docs.py`` holds
the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from api.param_shapes import param_field, webhook_field
from farm.cards import ModelCard
from farm.offers import Offers

_THINGS = {"generate": "image", "audio": "audio", "video": "video"}
"""What each operation that has a choice of models makes."""

_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "generate": {
        "model": "sdxl",
        "prompt": "a red circle above a blue square on a yellow background",
        "width": 768,
        "seed": 7,
    },
    "audio": {"prompt": "a calm piano over soft rain", "duration": 10},
    "video": {"prompt": "a yellow star on a purple background", "duration": 2, "seed": 7},
}


def generate_request(
    offers: Offers, storefront: str, operation: str = "generate"
) -> type[BaseModel]:
    """The body of ``POST /v1/image/generate``, or of another operation's that has a choice of
    models: one variant for each model sold."""
    default = offers.default(storefront, operation)
    cards = list(offers.sold(storefront, operation))
    thing = _THINGS[operation]
    variants = [_variant(card, operation, is_default=card.id == default) for card in cards]
    union: Any = reduce(or_, variants)
    config = ConfigDict(json_schema_extra={"examples": [_EXAMPLES[operation]]})
    body = {"__doc__": f"The {thing} to generate.", "model_config": config}
    return type(f"Generate{thing.title()}", (RootModel[union],), body)


def _variant(card: ModelCard, operation: str, *, is_default: bool) -> type[BaseModel]:
    names: Any = Literal.__getitem__((card.id, *card.aliases))
    model: Any = (names | None, None) if is_default else (names, ...)
    fields = {
        name: param_field(card, name, spec) for name, spec in card.params_of(operation).items()
    }
    made: type[BaseModel] = create_model(
        f"Generate-{card.id}".replace(".", "_"),
        __config__=ConfigDict(title=card.title, extra="ignore"),
        __doc__=f"{_THINGS[operation].capitalize()} by {card.title}.",
        model=model,
        **fields,
        webhook_url=webhook_field(),
    )
    return made


class UsageQuery(BaseModel):
    """Which part of the history."""

    limit: int = Field(default=20, ge=1, le=100)
    days: int = Field(default=30, ge=1, le=365)


class Submitted(BaseModel):
    """An accepted request. ``credits_used`` is the price that is held."""

    generation_id: str
    status: Literal["queued", "pending", "blocked", "failed"]
    model: str
    credits_used: float = Field(ge=0)
    warnings: list[str] | None = Field(default=None, description="Fields that were not used.")


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
    """A job and how it stands."""

    id: str
    generation_id: str
    status: Literal[
        "queued", "pending", "processing", "completed", "failed", "blocked", "cancelled"
    ]
    output_url: str | None = Field(description="Once completed; valid for 24 hours.")
    model: str | None = None
    operation: str | None = None
    credits_used: float
    created_at: str = Field(description="RFC 3339, UTC.")
    completed_at: str | None = None
    processing_ms: int | None = None
    seed: int | None = None
    error: str | None = None
    error_message: str | None = None
    served_by: str | None = None
    attempts: int
    queue_position: int | None = Field(default=None, ge=1, description="1 is the next.")
    eta_seconds: float | None = Field(
        default=None, ge=0, description="Seconds until it is done; left out when not known."
    )
    progress: Progress | None = None
    cancel_requested_at: str | None = None
    worker_freed_at: str | None = Field(
        default=None, description="When the worker of a job that was cancelled had stopped."
    )
    receipt: Receipt
    warnings: list[str] | None = None


class UsedGeneration(Generation):
    """A job with its prompt."""

    prompt: str


class Usage(BaseModel):
    """The newest jobs, and how many there were in the time asked for."""

    usage: list[UsedGeneration]
    total: int


class Balance(BaseModel):
    """What can be spent now."""

    credits_remaining: float
    plan: str
    email: str


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """Every error: a sentence a person can act on, and the fields that are wrong."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "detail": "width: must be from 512 to 1536, got 64.",
                    "errors": [{"field": "width", "message": "must be from 512 to 1536, got 64."}],
                }
            ]
        }
    )

    detail: str
    errors: list[FieldProblem] | None = None


def _problems(statuses: dict[int, str]) -> dict[str, Any]:
    return {f"HTTP_{status}": (Problem, meaning) for status, meaning in statuses.items()}


_ANY_CALL = {
    401: "No key, or one that is not known here.",
    403: "The account is blocked, or the User-Agent or a webhook_url refused.",
    429: "Too many calls this minute; Retry-After says when to come back.",
    503: "The farm is busy or its database away; Retry-After. Nothing was charged.",
}
READ_ERRORS = _problems(_ANY_CALL)
ONE_ERRORS = _problems(
    {
        **_ANY_CALL,
        404: "No such id in this account.",
        405: "What stands for the id is the path of something else.",
    }
)
QUERY_ERRORS = _problems({**_ANY_CALL, 422: "A query field is out of range."})
SUBMIT_ERRORS = _problems(
    {
        **_ANY_CALL,
        400: "The body, or a picture in it, cannot be read.",
        402: "Not enough credits.",
        409: "The first request with this Idempotency-Key is still being answered.",
        413: "The body, or a file in it, is too large.",
        422: "A field is missing, doubled, of the wrong type, out of range or contradictory.",
        429: "Too many calls, or as many jobs queued and running as the plan allows; Retry-After "
        "says when to come back.",
        503: "The farm is busy, the model's queue full or the database away; Retry-After. Nothing "
        "was charged.",
    }
)
