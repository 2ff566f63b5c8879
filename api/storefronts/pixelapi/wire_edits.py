"""The bodies of the edit endpoints as the documentation shows them, made from the cards.

The shapes are what ``edits.py`` enforces; ``tests/api/test_docs.py`` holds the two against
each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from api.param_shapes import param_field, webhook_field
from api.uploads import URL_SUFFIX
from farm.cards import InputSpec, ModelCard
from farm.intake.urls import URL_MAX

SUMMARIES = {
    "remove-background": "Cut a picture out of its background.",
    "replace-background": "Put the product of a picture into a described scene.",
    "restore-face": "Restore every face in a picture.",
    "remove-object": "Erase an object from a picture, by mask or by words.",
    "upscale": "Make a picture four times as wide and as high.",
}
RESULTS = {
    "remove-background": "The result is a PNG of the same size with an alpha channel.",
    "replace-background": "The result is the product as it was, on a generated scene.",
    "restore-face": "Each face found is restored and put back. Where there is none the "
    "generation fails, which costs nothing.",
    "remove-object": "The mask is white where something is to go, and as large as the picture; "
    "without one the prompt says what. Pixels outside the mask, but for a narrow blend, stay.",
    "upscale": "The result is a PNG of four times the width and the height.",
}

BOTH_WAYS = "A form may have the URL fields of the JSON body in the place of files."

_SAMPLES = "https://raw.githubusercontent.com/opencv/opencv/4.x/samples/data"
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "remove-background": {"image_url": f"{_SAMPLES}/apple.jpg"},
    "replace-background": {
        "image_url": f"{_SAMPLES}/apple.jpg",
        "prompt": "on a wooden table, blue wall",
        "seed": 7,
    },
    "restore-face": {"image_url": f"{_SAMPLES}/messi5.jpg"},
    "remove-object": {"image_url": f"{_SAMPLES}/fruits.jpg", "prompt": "the orange"},
    "upscale": {"image_url": f"{_SAMPLES}/apple.jpg", "scale": 4},
}

_File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]
_Url = Annotated[
    str, Field(min_length=1, max_length=URL_MAX, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+$")
]


def edit_json(card: ModelCard) -> type[BaseModel]:
    """The JSON body of an operation: pictures by URL."""
    fields: dict[str, Any] = {}
    for name, spec in card.inputs.items():
        note = f"The URL of {_noun(spec)}."
        url: Any = (_Url, Field(description=note))
        fields[f"{name}{URL_SUFFIX}"] = (
            url if spec.required else (_Url | None, Field(default=None, description=note))
        )
    fields |= {name: param_field(card, name, spec) for name, spec in card.params.items()}
    fields["webhook_url"] = webhook_field()
    rules: dict[str, Any] = {"examples": [dict(EXAMPLES[card.operation])]}
    if card.needs_one_of:
        ways = [f"{n}{URL_SUFFIX}" if n in card.inputs else n for n in card.needs_one_of]
        rules["anyOf"] = [
            {"required": [way], "properties": {way: {"type": "string"}}} for way in ways
        ]
    return _model(f"{card.operation}.by-url", card, fields, rules)


def edit_form(card: ModelCard) -> type[BaseModel]:
    """The form of an operation: pictures as files.

    The URL fields of the JSON body are taken in a form as well. They are not shown: the
    documentation's page would fill them in, beside the file.
    """
    fields: dict[str, Any] = {}
    for name, spec in card.inputs.items():
        default = ... if spec.required else None
        fields[name] = (
            _File,
            Field(default=default, description=f"The file of {_noun(spec)}."),
        )
    for name, param in card.params.items():
        fields[name] = param_field(card, name, param, nullable=False)
    fields["webhook_url"] = webhook_field(nullable=False)

    def complete(schema: dict[str, Any]) -> None:
        if card.needs_one_of:
            schema["anyOf"] = [{"required": [way]} for way in card.needs_one_of]
        for name, shown in schema["properties"].items():
            if shown.get("default", "") is None:
                del shown["default"]
            if name in EXAMPLES[card.operation]:
                shown["examples"] = [EXAMPLES[card.operation][name]]

    return _model(f"{card.operation}.form", card, fields, complete)


def _noun(spec: InputSpec) -> str:
    what = "the mask, as large as the picture" if spec.kind == "mask" else "the picture"
    size = f"{spec.bytes_max / 2**20:g} MB and {spec.side_max} pixels a side"
    return f"{what}: JPEG, PNG or WebP, at most {size}"


def _model(name: str, card: ModelCard, fields: Mapping[str, Any], extra: Any) -> type[BaseModel]:
    made: type[BaseModel] = create_model(
        name,
        __config__=ConfigDict(title=card.title, extra="ignore", json_schema_extra=extra),
        __doc__=SUMMARIES[card.operation],
        **fields,
    )
    return made


class EditSubmitted(BaseModel):
    """An accepted request. ``credits_used`` is the price that is held."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "generation_id": "bg-rm-4d28614e-8ded-4108-91af-4116728f4eb5",
                    "status": "queued",
                    "operation": "remove-background",
                    "credits_used": 2.0,
                }
            ]
        }
    )

    generation_id: str
    status: Literal["queued", "pending", "blocked", "failed"]
    operation: str
    credits_used: float = Field(ge=0)
    warnings: list[str] | None = Field(default=None, description="Fields that were not used.")
