"""The bodies that bring pictures along, as the documentation shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from api.param_shapes import param_field, webhook_field
from api.storefronts.pixapi import wire
from api.storefronts.pixapi.orders import STOREFRONT
from api.storefronts.pixapi.translate_edits import EDIT, FILM, FILM_FROM_IMAGE
from farm.cards import InputSpec
from farm.offers import Offer, Offers

_File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]
_Picture = Annotated[
    str, Field(pattern=r"^([Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+|data:image/[a-z]+;base64,.+)$")
]
_SAMPLES = "https://raw.githubusercontent.com/opencv/opencv/4.x/samples/data"
_EDIT_EXAMPLE = {
    "model": "flux-kontext",
    "image": f"{_SAMPLES}/apple.jpg",
    "prompt": "put it on a wooden table in front of a blue wall",
}
_FILM_EXAMPLE = {
    "model": "wan2.1",
    "prompt": "a yellow star on a purple background",
    "seconds": 2,
    "resolution": "480p",
}
_MASK_NOTE = "Transparent where the first image is to be edited, and as large as it."


def edit_request(offers: Offers) -> Any:
    """The JSON body of ``POST /v1/images/edits``: one variant for each model."""
    variants = []
    for offer in _edits(offers):
        images = _pictures(offer)
        most = f"At most {images} of them." if images > 1 else ""
        note = f"A URL or a data URL, at most {InputSpec().bytes_max >> 20} MiB. {most}"
        several = Annotated[list[_Picture], Field(min_length=1, max_length=images)]
        fields: dict[str, Any] = {"image": (_Picture | several, Field(description=note.strip()))}
        if _takes_mask(offer):
            fields["mask"] = (_Picture | None, Field(default=None, description=_MASK_NOTE))
        variants.append(_variant("Edit", offer, fields))
    text = "The images to change: one variant for each model."
    return wire.union("EditImages", text, variants, _EDIT_EXAMPLE)


def edit_form(offers: Offers) -> Any:
    """The form of ``POST /v1/images/edits``: what the models together take."""
    fields: dict[str, Any] = {
        "image": (list[_File], Field(description="One file or several; or image[].")),
        "mask": (_File, Field(default=None, description=_MASK_NOTE)),
    }
    names = [name for offer in _edits(offers) for name in (offer.sold.id, *offer.sold.aliases)]
    offer = next(wire.offered(offers, "edit"))
    fields |= {
        "model": (wire.choices(names), Field(default=offer.sold.id)),
        "prompt": (str, Field(default=None, description="As the model takes it.")),
        **wire.picture_fields(offer, nullable=False),
    }

    def complete(schema: dict[str, Any]) -> None:
        for shown in schema["properties"].values():
            if shown.get("default", "") is None:
                del shown["default"]

    made: type[BaseModel] = create_model(
        "EditImagesForm",
        __config__=ConfigDict(title="Edit images", extra="ignore", json_schema_extra=complete),
        __doc__="The images to change.",
        **fields,
    )
    return made


def film_request(offers: Offers) -> Any:
    """The body of ``POST /v1/async/videos/generations``: one variant for each model and way."""
    variants = []
    for operation in (FILM, FILM_FROM_IMAGE):
        for offer in wire.offered(offers, operation):
            fields: dict[str, Any] = {}
            if operation == FILM_FROM_IMAGE:
                fields["image"] = (_Picture, Field(description="What it begins with."))
            variants.append(_film(offer, fields))
    return wire.union("GenerateVideo", "The video to generate.", variants, _FILM_EXAMPLE)


def _film(offer: Offer, fields: dict[str, Any]) -> type[BaseModel]:
    card, specs = offer.card, offer.card.params_of(offer.operation)
    duration = specs["duration"]
    seconds: Any = Annotated[float, Field(ge=duration.min, le=duration.max)]
    note = f"As duration. {'Not used by this model.' if duration.unused else ''}".strip()
    fields |= {
        "prompt": wire.text_field(offer, "prompt"),
        "seconds": (seconds | None, Field(default=None, description=note)),
        "resolution": param_field(card, "resolution", specs["resolution"]),
        "seed": param_field(card, "seed", specs["seed"]),
        "webhook_url": webhook_field(),
    }
    return _named("Video" if "image" not in fields else "VideoFromImage", offer, fields)


def _variant(kind: str, offer: Offer, fields: dict[str, Any]) -> type[BaseModel]:
    prompt = wire.text_field(offer, "prompt")
    return _named(kind, offer, {**fields, "prompt": prompt, **wire.picture_fields(offer)})


def _named(kind: str, offer: Offer, fields: dict[str, Any]) -> type[BaseModel]:
    made: type[BaseModel] = create_model(
        wire.variant_name(kind, offer),
        __config__=ConfigDict(title=offer.sold.title, extra="ignore"),
        __doc__=f"{kind} by {offer.sold.title}.",
        model=wire.model_field(offer.sold, required=True),
        **fields,
    )
    return made


def _edits(offers: Offers) -> Iterator[Offer]:
    for card in offers.sold(STOREFRONT):
        operation = next((each for each in EDIT if card.does(each)), None)
        if operation is not None:
            yield offers.find(STOREFRONT, operation, card.id)


def _pictures(offer: Offer) -> int:
    specs = offer.card.inputs_of(offer.operation)
    return sum(spec.kind == "picture" for spec in specs.values())


def _takes_mask(offer: Offer) -> bool:
    return "mask" in offer.card.inputs_of(offer.operation)
