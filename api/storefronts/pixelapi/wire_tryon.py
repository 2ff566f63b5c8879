"""Try-on as the documentation shows it; its fields are made from the card."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from api.storefronts.pixelapi.wire import (
    SUBMIT_ERRORS,
    Problem,
    param_field,
    webhook_field,
)
from farm.catalog import ModelCard

_PERSON = (
    "iVBORw0KGgoAAAANSUhEUgAAAHgAAACgAgMAAAC6Z0ADAAAADFBMVEXi3dPgtJY8br4yMjxI3w/8AAABQklEQVR42u2V"
    "v47CMAzGnRLdwHJZ2HkPljzCLWw83m0MbMx9nJNYOp8qvhuuyh/HVKlwkZASqWnCr/lsY9clauPpsTvm+y7bGU9fM9gS"
    "2RnsiMwM9tMlYzMpPMA2TCJ2QUK2XYwl2CeztrhJ/Nf3/G0x/m+Dmvgm3dz2RETXdQIbEv8FPIZJxOBh557TbZ87zlwb"
    "mGmGR2b6jaslvuwf32H5e1os7iTJjhdinhWtwHzRZPLTvbCqFTdFe1zm+SD8A7WnbdG5l9kei0WCnVgF9eJW8LKTMhJ3"
    "aoXshOx0UsLiozq2bRqaD6G/5AV2aWhxoyPu0zTGKF8RmMkaNULKVMQt/93y0z0JjaJO3D1oprWeo/je1Z/2BfA1p6fw"
    "z7tD/j07s+fcFgDuFwD4MYIQAIyfANAr13nDDTfccMMNr4RXHX+q6TujpXIrnQAAAABJRU5ErkJggg=="
)
_GARMENT = (
    "iVBORw0KGgoAAAANSUhEUgAAAHgAAAB4AQMAAAADqqSRAAAABlBMVEX19fW+KDKLHiTtAAABBklEQVR42u2RwW2EQAxF"
    "Hx+U5RApHHOkhHSwlJQOsqWkhJQwpVACR6QQnIM9w0TaW04r4dtjbP//DZz1/7JEYzcAATQATIXFiBgLPwPwWnhgoKMr"
    "PNLT51FgomOIrQBmO1dzQaA1s5uZzcEX81pivo/vffAQ3AWPwQJaIO9pmoSodCdQWMJ9Il/jNYAOOehB8Fb4CRR3Ie7U"
    "Qjru2CRVcjChSs6dvthRKyppPJFKGk+kkgZg/7PNO5aKNsRa8YrYKl7uzO8VzQirOHm/J8wPH/vVzMz2q4Eg5Q2zc1GM"
    "/zdnR+sOgiU73jYQrJ/BP954IfbzDoLvYucLRGV45k6ek09+XH60+gVUIFwpN30rIgAAAABJRU5ErkJggg=="
)
"""A figure of 120x160 and a shirt of 120x120 pixels, drawn for the documentation's page."""


def tryon_request(card: ModelCard) -> type[BaseModel]:
    """The body of ``POST /v1/virtual-tryon``."""
    notes = {
        "person_image": "A person, upright, of at least 100 pixels a side.",
        "garment_image": "A garment.",
    }
    fields: dict[str, Any] = {}
    for name, spec in card.inputs.items():
        note = (
            f"{notes[name]} A JPEG, PNG or WebP in base64, a `data:` prefix is forgiven; its file "
            f"has at most {spec.bytes_max / 2**20:g} MB and {spec.side_max} pixels a side."
        )
        fields[name] = (str, Field(description=note, min_length=1))
    fields |= {name: param_field(card, name, spec) for name, spec in card.params.items()}
    example: dict[str, Any] = {
        "person_image": _PERSON,
        "garment_image": _GARMENT,
        "category": "upperbody",
    }
    made: type[BaseModel] = create_model(
        "TryOn",
        __config__=ConfigDict(
            title=card.title, extra="ignore", json_schema_extra={"examples": [example]}
        ),
        __doc__="A person to dress, and what in.",
        **fields,
        webhook_url=webhook_field(),
    )
    return made


class TryOnSubmitted(BaseModel):
    """An accepted request. ``credits_used`` is the price that is held."""

    job_id: str
    status: Literal["queued", "pending", "blocked", "failed"]
    credits_used: float = Field(ge=0)
    warnings: list[str] | None = Field(default=None, description="Fields that were not used.")


class TryOnJob(BaseModel):
    """A try-on and how it stands; null is what is not known."""

    job_id: str
    status: Literal[
        "queued", "pending", "processing", "completed", "failed", "blocked", "cancelled"
    ]
    result_image_b64: str | None = Field(
        description="Once completed: a PNG of 8 bits a channel in base64, for 24 hours."
    )
    inference_time_ms: int | None
    error: str | None = Field(
        default=None,
        description="A code: `body_segmentation_failed` where the clothing region was not found, "
        "`gpu_out_of_memory` where the worker ran out of memory, or another.",
    )
    error_message: str | None
    credits_used: float


class TryOnProblemDetail(BaseModel):
    """What is wrong, and what to do."""

    error: Literal[
        "invalid_image",
        "image_too_small",
        "wrong_aspect_ratio",
        "invalid_category",
        "invalid_request",
        "malformed",
        "too_large",
    ]
    message: str
    guidance: str
    received_size: str | None = Field(default=None, description="Of the picture, in pixels.")


class TryOnProblem(BaseModel):
    """What is wrong with the body of a try-on. Keys, credits, limits and the Idempotency-Key are
    refused as on every other path."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "detail": {
                        "error": "wrong_aspect_ratio",
                        "message": "person_image: is wider than tall, with 640x480 pixels.",
                        "guidance": "Send a picture of the person that is taller than wide, "
                        "such as 768x1024 pixels.",
                        "received_size": "640x480",
                    }
                }
            ]
        }
    )

    detail: TryOnProblemDetail


class TryOnRefusal(RootModel[TryOnProblem | Problem]):
    """An object about the body, or a sentence about the Idempotency-Key."""


TRYON_ERRORS = SUBMIT_ERRORS | {
    "HTTP_400": (
        TryOnProblem,
        "`malformed`: the body is no JSON object. `invalid_image`: a picture is not base64, or "
        "not a readable JPEG, PNG or WebP.",
    ),
    "HTTP_413": (TryOnProblem, "`too_large`: the body, or a picture in it."),
    "HTTP_422": (
        TryOnRefusal,
        "`image_too_small`, `wrong_aspect_ratio`: what the person's picture is. "
        "`invalid_category`. `invalid_request`: a field is missing, doubled, of the wrong type or "
        "out of range.",
    ),
}
