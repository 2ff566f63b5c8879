"""The shapes on the wire, as the documentation shows them.

What is enforced is the catalogue's and the style book's; the request schema here is made from
the same tables, so that a range is written once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from api.param_shapes import param_field, webhook_field
from api.queries import CURSOR_MAX
from api.storefronts.pixola.problems import CODES
from farm.offers import Offers
from farm.styles import NO_STYLE, SQUARE, STANDARD, StyleBook

STOREFRONT = "pixola"
COUNT_MAX = 4
LIMIT_MAX = 100
BATCHES_DEFAULT, IMAGES_DEFAULT = 20, 50

Status = Literal["processing", "complete", "failed", "rejected"]
Credits = Annotated[float, Field(ge=0)]


class Camel(BaseModel):
    """Names of fields in the dialect's own spelling."""

    model_config = ConfigDict(alias_generator=to_camel)


def generate_request(offers: Offers, book: StyleBook) -> type[BaseModel]:
    """The body of ``POST /generate``."""
    default = offers.find(STOREFRONT, "generate").card
    cards = list(offers.sold(STOREFRONT, "generate"))
    models = [name for card in cards for name in (card.id, *card.aliases)]
    aliases = [style.alias for style in book.styles.values() if style.alias]
    prompt, seed = default.params["prompt"], default.params["seed"]
    config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "a large pink heart in the middle of a blue background",
                    "model": "flux-schnell",
                    "style": "no-style",
                    "shape": "landscape",
                    "count": 2,
                }
            ]
        }
    )
    made: type[BaseModel] = create_model(
        "Generate",
        __config__=config,
        __doc__="What to draw, and how. Everything but the prompt may be left out.",
        prompt=param_field(default, "prompt", prompt),
        model=_one_of(models, default.id, "The farm's default where absent."),
        style=_one_of([*book.styles, *aliases], NO_STYLE, "See GET /styles."),
        shape=_one_of(list(book.shapes), SQUARE, "See GET /shapes."),
        quality=_one_of(list(book.qualities), STANDARD, "hd is larger, in more steps, at more."),
        count=(
            Annotated[int, Field(ge=1, le=COUNT_MAX)] | None,
            Field(default=1, description="Images in the batch, each charged by itself."),
        ),
        seed=param_field(default, "seed", seed),
        webhook_url=webhook_field(),
        webhookUrl=webhook_field(),
    )
    return made


def _one_of(names: list[str], default: str, note: str) -> Any:
    kind: Any = Literal.__getitem__(tuple(names))
    return (kind | None, Field(default=default, description=note))


class Submitted(Camel):
    """An accepted batch. Its price is held; each image is charged when it is made."""

    batch_id: str
    warnings: list[str] | None = Field(default=None, description="Fields that were not used.")


class Progress(Camel):
    """The model's own steps."""

    step: int = Field(ge=0)
    steps: int = Field(ge=0)


class Receipt(Camel):
    """What became of an image's price: held at submit, then charged or returned."""

    held: Credits
    charged: Credits
    returned: Credits
    price_rule: str


class More(Camel):
    """What is told of an image beside its status, as far as it is known."""

    attempts: int = Field(ge=0)
    receipt: Receipt
    seed: int | None = None
    served_by: str | None = Field(default=None, description="What truly made the image.")
    queue_position: int | None = Field(default=None, ge=1, description="1 is the next.")
    eta_seconds: float | None = Field(default=None, ge=0)
    progress: Progress | None = None
    error: str | None = Field(default=None, description="Why there is no image.")


class BatchImage(More):
    """One image of a batch."""

    image_id: str
    url: str | None = Field(description="Once complete; valid for 24 hours.")
    model: str
    status: Status
    credits_charged: Credits


class BatchStatus(Camel):
    """A batch and its images."""

    batch_id: str
    status: Status = Field(
        description="complete when every image ended and one at least was made; rejected when "
        "the content filter refused them."
    )
    images: list[BatchImage]
    created_at: str = Field(description="RFC 3339, UTC.")
    style: str | None
    shape: str | None
    quality: str | None
    warnings: list[str] | None = None


class ListedBatch(Camel):
    """One row of the list of batches."""

    batch_id: str
    status: Status
    prompt: str
    quality: str | None
    image_count: int = Field(ge=1)
    created_at: str


class Onwards(Camel):
    """Where a list goes on."""

    next_cursor: int | None = Field(description="The cursor of the next page; null on the last.")
    has_more: bool


class Batches(Onwards):
    """A page of batches, newest first."""

    batches: list[ListedBatch]


class ListedImage(Camel):
    """One row of the list of images."""

    image_id: str
    batch_id: str
    url: str | None = Field(description="Once complete; valid for 24 hours.")
    title: str = Field(description="The beginning of the prompt.")
    model: str
    status: Status
    created_at: str
    credits_charged: Credits
    is_favorite: bool


class Images(Onwards):
    """A page of images, newest first."""

    images: list[ListedImage]


class Image(ListedImage, More):
    """One image with its prompt."""

    prompt: str
    style: str | None
    shape: str | None
    quality: str | None


class ImageChange(Camel):
    """What of an image its owner may change."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"isFavorite": True}]})

    is_favorite: bool


class ListedModel(Camel):
    """One model, and what it costs here."""

    slug: str
    name: str
    best_for: str
    description: str
    tags: list[str]
    released: str = Field(description="The day on which its makers published it.")
    pricing: dict[str, Credits] = Field(description="Credits for an image, by quality.")
    served_by: str = Field(description="What truly makes the images on this farm.")
    license: str
    non_commercial: bool


class Models(Camel):
    """Every model."""

    models: list[ListedModel]


class ModelPage(ListedModel):
    """One model, and where to read more."""

    researcher: str
    researcher_url: str | None
    urls: list[str]
    sample_prompts: list[str]


class ListedStyle(Camel):
    """One style."""

    slug: str
    name: str
    category: str
    alias: str | None = Field(description="Another name that requests may use.")
    image: str | None = Field(description="A preview, where one was made.")


class StyleCategory(Camel):
    """Styles of one kind."""

    category: str
    styles: list[ListedStyle]


class Styles(Camel):
    """Every style."""

    categories: list[StyleCategory]


class StylePage(ListedStyle):
    """One style with what it does to a prompt."""

    prompt: str = Field(description="What the model gets, with your prompt for {prompt}.")
    negative_prompt: str = Field(
        description="What it keeps away from, where the model takes a negative prompt."
    )


class Shape(Camel):
    """One shape. The sides are pixels at standard quality."""

    slug: str
    name: str
    aspect_ratio: str
    width: int
    height: int


class Shapes(Camel):
    """Every shape."""

    shapes: list[Shape]


class Balance(Camel):
    """What can be spent now."""

    credits: float
    plan: str


class PageQuery(BaseModel):
    """Which part of a list."""

    cursor: int | None = Field(
        default=None, ge=1, le=CURSOR_MAX, description="nextCursor of the page before."
    )


class BatchesQuery(PageQuery):
    """Which part of the batches."""

    limit: int = Field(default=BATCHES_DEFAULT, ge=1, le=LIMIT_MAX)


class ImagesQuery(PageQuery):
    """Which part of the images."""

    limit: int = Field(default=IMAGES_DEFAULT, ge=1, le=LIMIT_MAX)
    batchId: str | None = Field(default=None, description="Only this batch's.")


class FieldProblem(Camel):
    """What is wrong with one field."""

    field: str
    message: str


class ProblemBody(Camel):
    """A code for programs, a sentence for people, and the fields that are wrong."""

    code: Literal.__getitem__(CODES)  # type: ignore[valid-type]
    message: str
    fields: list[FieldProblem] | None = None


class Problem(Camel):
    """Every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": "bad_request",
                        "message": "count: must be a whole number from 1 to 4, got 5.",
                        "fields": [
                            {
                                "field": "count",
                                "message": "must be a whole number from 1 to 4, got 5.",
                            }
                        ],
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
    403: "The account is blocked, or the User-Agent or a webhook refused.",
    429: "Too many calls this minute or this day; Retry-After says when to come back.",
    503: "The farm is busy or its database away; Retry-After. Nothing was charged.",
}
READ_ERRORS = _problems(_ANY_CALL)
ONE_ERRORS = _problems({**_ANY_CALL, 404: "No such thing, or not in this account."})
QUERY_ERRORS = _problems(
    {**_ANY_CALL, 400: "A query field is out of range.", 404: "No such batch in this account."}
)
CHANGE_ERRORS = _problems(
    {
        **_ANY_CALL,
        400: "The body cannot be read, or a field is wrong.",
        404: "No such image in this account.",
        413: "The body is too large.",
    }
)
SUBMIT_ERRORS = _problems(
    {
        **_ANY_CALL,
        400: "The body cannot be read, or a field is missing, of the wrong type or unknown.",
        409: "content_flagged: the prompt was refused. insufficient_credits: they are too few "
        "for the whole batch. idempotency_in_flight: the first request is still answered.",
        413: "The body is too large.",
        422: "This Idempotency-Key was used with another body.",
        429: "Too many calls, or as many jobs queued and running as the plan allows; Retry-After "
        "says when to come back.",
        503: "The farm is busy, the model's queue full or the database away; Retry-After. Nothing "
        "was charged.",
    }
)
