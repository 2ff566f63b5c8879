"""What an upstream answers, read and bounded: nothing in it is believed."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farm.errors import UpstreamFault

Form = TypeVar("Form", bound=BaseModel)
Url = Annotated[str, Field(min_length=1, max_length=8192)]


class _Answer(BaseModel):
    """Fields that are not known here are ignored: services add their own."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Result(_Answer):
    """One result: its bytes as base64, or the URL where they are."""

    b64_json: str | None = None
    url: Url | None = None


class Pictures(_Answer):
    """The answer to a request for pictures."""

    data: Annotated[list[Result], Field(min_length=1, max_length=16)]


class Complaint(_Answer):
    """Why a task failed."""

    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class Task(_Answer):
    """A task as it stands; ``progress`` is in percent."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
    status: Literal[
        "submitted", "queued", "processing", "in_progress", "completed", "failed", "cancelled"
    ]
    progress: Annotated[float, Field(ge=0, le=100)] | None = None
    data: list[Result] | None = None
    error: Complaint | None = None


def read(response: httpx2.Response, form: type[Form], name: str) -> Form:
    """The answer of the upstream called ``name``. Raises UpstreamFault for what is none."""
    try:
        return form.model_validate_json(response.content)
    except ValidationError:
        # Its text would quote the answer.
        html = response.headers.get("content-type", "").startswith("text/html")
    raise UpstreamFault(
        f"{name} answered with status {response.status_code}, and {len(response.content):,} bytes "
        f"{'of HTML ' if html else ''}that are not the answer expected."
    )


def decoded(words: str, bytes_max: int, name: str) -> bytes:
    """The bytes of a result. Raises UpstreamFault where they are too many, or no base64."""
    if len(words) // 4 * 3 <= bytes_max:
        try:
            return base64.b64decode(words, validate=True)
        except binascii.Error:
            problem = "is no base64"
    else:
        problem = f"has more than {bytes_max:,} bytes"
    raise UpstreamFault(f"The result of {name} {problem}.")
