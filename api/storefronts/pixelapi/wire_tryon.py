"""Try-on as the documentation shows it; its fields are made from the card."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from api.param_shapes import param_field, webhook_field
from api.storefronts.pixelapi.wire import SUBMIT_ERRORS, Problem
from farm.cards import ModelCard

_PERSON = (
    "iVBORw0KGgoAAAANSUhEUgAAAHgAAACgBAMAAAA1J7WjAAAAGFBMVEXp6enp6Ojo6Ono6Ojo6Ofn6OhwgJtAPUQvAl"
    "haAAADDklEQVR42u2awW4aMRCGfxsqFVWpvFS99LSQXtpLIXkBlPYBeIQ+Qp+sSl+g5RFoc4eVeg62kkOpCuscloUG"
    "e+3By+4KtRzCasm3vz0z9swY2CXCXxyVwTx2ftx2fciG4m4RqMzeR+xCBMIvAOAyDGYDAGAiCL7J3i6C4I+AlAALgb"
    "mABKRr3MUwgwYAhbjuCGNQAKBxFgBP/UFYDI909q5qX1WqDDwFIiACVgHwAJCAAloBsM7/qgA4zS+SEGXltZzDVRvF"
    "dZCfN4qrIDjNpH8GwZm501LhWQpOguDMzHwUBLfjphLd1BskrDCdnOdbrv4cHwb3H23XEjM6zIfGrduEOueeeatLNR"
    "i3JBgW1+Eqa14UZZTXRNjq1id1zFmAaIhjK6/JmwKnmQbAiAQXlD+izJxTEjwll7gWeFxBsc5IsCihnHprKwdcWHaN"
    "qw7PtJLWSBFg1mRTlhKzdIXt4O71PK9R3PAUmFuH3SPAV/SVwUNr7boMpjU1P6eqgghTfjimnwHwEuuiYNjX5q0FEZ"
    "4f2VV/DoCFo3p3warY4n0v3LfCDJqWn8kBVjDnhJYJjrqq1oWZ/aspxMkxMjA9uA+3XIXFxAOz4lyVGAVRm7wiAc48"
    "yl17IGaPjf0G0+Tt1O5nI8gSanXFAHz5BAB6jq5weN95+oiZtVkpHPaicF3oxAiffWU90xbTaQBYGI81hi0BAO8sEa"
    "9lI8m9fvg6AI7LK2+3+vuwYesycx4Ew8oz+SpcleS9XeL6r+qCJD3Z2HaOv1JlfYIGUyfu55Nz1SoA1uVdNSk57JZq"
    "wmB64Hl4da6K8z1E1a2c/JtLskG4mdgOhPV/ax8Grx5vgqo+V5U32MrSqtSjfL+t+ScHwbtEkQQqq9zkenwQ/Fpgc9"
    "DZA8DOD+lif3wAgFaUP4GdWVuU1ivj1vc3nasOAKATRVF29WzZeXlndtrGV4sRjzc/ftEKf1/NpFeZvRUA8Psp5BIA"
    "sOxsvruPfi1pyrayOZF+g0mk2D84m20ba6+1JbD+NtwdFujbG3tvxhr7ldYDst+++fFqysEAAAAASUVORK5CYII="
)
_GARMENT = (
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABgAgMAAACf9p+rAAAACVBMVEX29va3PESyKzMgN07fAAABIklEQVR42u3VPU"
    "7DMBTA8b9fk71DGMrEUXyEDEgIiRGGMnVhzz04AkuOkFMgxk5laIeOVYIwgx3HH2FDYomXJP7Jz8/vKQks4++GugW4"
    "0uOzjDdbC1udwLVWAFo9uomVvZSvqOMe9cJq+AhWqCeghhK41wFsNLCxcVwwBcCzDvIzd36F0lHieoL4SBMUMdx4qG"
    "IoPNQxlB50UrYRJC1o4yaLFNYOqhQqB+sUSgdN1jQLKm+nBnFpx6MGmUkKKhBXmqwokp3bHVuSZvjdZS4pCwC009ww"
    "RjPAdwgN0CGYHVzCMHvoOwROcA7hAicQ6LtwCzCws0VsTRdB17smfQ5xru27A/MQw+Ew1+/sxVlggQX+E76mmXPwgY"
    "fhzcNx+fX/Mn4AtxI1YkWVsZ8AAAAASUVORK5CYII="
)
"""A figure of 120x160 and a shirt of 96x96 pixels, drawn for the documentation's page."""


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
