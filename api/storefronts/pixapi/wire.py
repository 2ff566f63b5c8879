"""The shapes on the wire, as the documentation shows them.

What is enforced is the catalogue's and ``orders.py``'s; ranges here are made from the same cards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from api.param_shapes import param_field, webhook_field
from api.storefronts.pixapi.ids import PATTERN
from api.storefronts.pixapi.orders import ANSWERS, N_MAX, QUALITIES, STOREFRONT
from farm.cards import ModelCard, ParamSpec
from farm.offers import Offer, Offers

_EXAMPLE = {
    "model": "flux-schnell",
    "prompt": "three green stars in a row on a black background",
    "size": "512x512",
}
_ID = "task_4d28614e8ded410891af4116728f4eb5"
_SIDE = r"(25[6-9]|2[6-9][0-9]|[3-9][0-9][0-9]|1[0-9][0-9][0-9]|20[0-3][0-9]|204[0-8])"
_SIZE = rf"^(auto|{_SIDE}x{_SIDE})$"
"""The range that every card has; ``tests/api/pixapi`` holds the two against each other."""


def choices(words: Sequence[str]) -> Any:
    """One of these words."""
    return Literal.__getitem__(tuple(words))


def offered(offers: Offers, operation: str) -> Iterator[Offer]:
    """The models sold for an operation, each with the one that runs."""
    for card in offers.sold(STOREFRONT, operation):
        yield offers.find(STOREFRONT, operation, card.id)


def model_field(sold: ModelCard, *, required: bool) -> Any:
    """``model`` where it means this card."""
    names = choices((sold.id, *sold.aliases))
    return (names, ...) if required else (names | None, None)


def variant_name(kind: str, offer: Offer) -> str:
    """The name of a body's shape for one model. Of a name with dots the document keeps the end."""
    return f"{kind}-{offer.sold.id}".replace(".", "_")


def text_field(offer: Offer, name: str, note: str | None = None) -> Any:
    """A text as the model that runs takes it; ignored where it takes none."""
    spec = offer.card.params_of(offer.operation).get(name)
    if spec is None:
        return (str | None, Field(default=None, description=note or "Not used by this model."))
    return param_field(offer.card, name, spec)


def picture_fields(offer: Offer, *, nullable: bool = True) -> dict[str, Any]:
    """The fields that every request for pictures has, but model and prompt."""

    def optional(kind: Any, note: str, default: Any = None) -> Any:
        return (kind | None if nullable else kind, Field(default=default, description=note))

    card = offer.card
    specs = card.params_of(offer.operation)
    fields = {
        "n": optional(
            Annotated[int, Field(ge=1, le=N_MAX)], "How many; each is charged by itself.", 1
        ),
        "size": optional(
            Annotated[str, Field(pattern=_SIZE)],
            "Width and height in pixels, 256 to 2048 each, or auto.",
            "auto",
        ),
        "quality": optional(
            choices(QUALITIES), "With hd or high the model takes more steps, at twice the price."
        ),
        "response_format": optional(choices(ANSWERS), "URLs are valid for 24 hours.", "url"),
        "user": optional(str, "Not used."),
        "webhook_url": webhook_field(nullable=nullable),
    }
    for name in ("output_format", "seed"):
        if (spec := specs.get(name)) is not None:
            fields[name] = param_field(card, name, _shown(spec), nullable=nullable)
    return fields


def _shown(spec: ParamSpec) -> ParamSpec:
    """A choice's default is the engine's own, and the first of them."""
    if spec.kind != "choice" or spec.default is not None:
        return spec
    return spec.model_copy(update={"default": spec.choices[0]})


def union(name: str, text: str, variants: Sequence[type[BaseModel]], example: Any) -> Any:
    """A body that is one of these."""
    whole: Any = reduce(or_, variants)
    config = ConfigDict(json_schema_extra={"examples": [example]})
    return type(name, (RootModel[whole],), {"__doc__": text, "model_config": config})


def generation_request(offers: Offers) -> Any:
    """The body of ``POST /v1/images/generations``: one variant for each model."""
    variants = []
    for offer in offered(offers, "generate"):
        made: type[BaseModel] = create_model(
            variant_name("Images", offer),
            __config__=ConfigDict(title=offer.sold.title, extra="ignore"),
            __doc__=f"Images by {offer.sold.title}.",
            model=model_field(offer.sold, required=True),
            prompt=text_field(offer, "prompt"),
            **picture_fields(offer),
        )
        variants.append(made)
    return union("GenerateImages", "The images to generate.", variants, _EXAMPLE)


class Usage(BaseModel):
    """What was charged."""

    credits: float = Field(ge=0)


class JobProblem(BaseModel):
    """Why an image was not made."""

    code: str
    message: str
    type: str


class Failed(BaseModel):
    """One of the images that were not made."""

    index: int = Field(ge=0, description="Which of the n.")
    error: JobProblem


class Image(BaseModel):
    """One image: where it is, or the file itself."""

    url: str | None = None
    b64_json: str | None = None


_WARNINGS = Field(default=None, description="Fields that were not used.")
_FAILED = Field(default=None, description="Where some were made and others not.")


class Images(BaseModel):
    """The images that were made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "created": 1798700000,
                    "data": [{"url": "https://farm.example/outputs/images/2026/11/21/a.png"}],
                    "size": "1024x1024",
                    "quality": "standard",
                    "output_format": "png",
                    "usage": {"credits": 2.0},
                }
            ]
        }
    )

    created: int = Field(description="Unix seconds.")
    data: list[Image] = Field(min_length=1)
    size: str
    quality: str
    output_format: str
    usage: Usage
    failed: list[Failed] | None = _FAILED
    warnings: list[str] | None = _WARNINGS


class TaskSubmitted(BaseModel):
    """An accepted request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "object": "task",
                    "status": "submitted",
                    "progress": 0,
                    "model": "flux-schnell",
                    "created": 1798700000,
                }
            ]
        }
    )

    id: str = Field(pattern=f"^{PATTERN}$")
    object: Literal["task"]
    status: Literal["submitted"]
    progress: int
    model: str
    created: int = Field(description="Unix seconds.")
    warnings: list[str] | None = _WARNINGS


class Link(BaseModel):
    """One result."""

    url: str = Field(description="Valid for 24 hours.")


class Task(BaseModel):
    """A request and how it stands: all of its results."""

    id: str = Field(pattern=f"^{PATTERN}$")
    object: Literal["task"]
    status: Literal["submitted", "processing", "completed", "failed", "cancelled"]
    progress: int = Field(ge=0, le=100, description="Percent of the model's own steps.")
    model: str
    created: int = Field(description="Unix seconds.")
    completed: int | None = Field(description="Unix seconds; null until it has ended.")
    data: list[Link] = Field(description="Once completed.")
    error: JobProblem | None
    served_by: str | None = Field(description="What truly made the results.")
    usage: Usage | None = Field(default=None, description="Once it has ended.")
    failed: list[Failed] | None = _FAILED
    warnings: list[str] | None = _WARNINGS


class ProblemBody(BaseModel):
    """What went wrong."""

    code: int = Field(description="The HTTP status.")
    message: str
    type: str
    param: str | None = Field(description="The field that is wrong.")


class Problem(BaseModel):
    """Every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": 400,
                        "message": "n: must be from 1 to 4, got 5.",
                        "type": "invalid_request_error",
                        "param": "n",
                    }
                }
            ]
        }
    )

    error: ProblemBody


def _problems(statuses: dict[int, str]) -> dict[str, Any]:
    return {f"HTTP_{status}": (Problem, meaning) for status, meaning in statuses.items()}


_ANY_CALL = {
    401: "No key, or one that is not known here.",
    403: "The account is blocked, or the User-Agent or a webhook_url refused.",
    429: "Too many calls this minute, or too many that wait; Retry-After says when to come back.",
    503: "The farm is busy or its database away; Retry-After. Nothing was charged.",
}
_SUBMIT = {
    **_ANY_CALL,
    400: "The body, a picture or a field is wrong, or the content policy refuses the words.",
    402: "Not enough credits for all images.",
    409: "The first request with this Idempotency-Key is still being answered.",
    413: "The body, or a picture in it, is too large.",
    429: "Too many calls, too many that wait, or as many jobs queued and running as the plan "
    "allows; Retry-After says when to come back.",
    503: "The farm is busy, the model's queue full or the database away; Retry-After. Nothing "
    "was charged.",
}
ONE_ERRORS = _problems({**_ANY_CALL, 404: "No such id in this account."})
SUBMIT_ERRORS = _problems(_SUBMIT)
WAIT_ERRORS = _problems(
    {
        **_SUBMIT,
        409: "As above; or the task was cancelled while it was waited for.",
        500: "None of the images could be made. Nothing was charged.",
        504: "It takes longer than a request may wait. It goes on; the message names the task.",
    }
)
