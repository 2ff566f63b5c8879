"""Request parameters as the documentation shows them, made from the model cards.

What is enforced is the catalogue's (``farm/parameters.py``), so that a range is written once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from farm.cards import ModelCard, ParamSpec
from farm.intake.urls import URL_MAX

# No NUL, which PostgreSQL cannot store; where text is required, something beside whitespace.
_NO_NUL = r"^[^\x00]*$"
_SEEN = r"[^\s\x00\x1c-\x1f]"
_NOT_BLANK = rf"^[^\x00]*{_SEEN}[^\x00]*$"

WEBHOOK_NOTE = (
    "An https URL that is told once, signed, when the job has ended (on plans with webhooks)."
)


def param_field(card: ModelCard, name: str, spec: ParamSpec, *, nullable: bool = True) -> Any:
    """A parameter as pydantic has fields. A form knows no null: not ``nullable`` there."""
    note = f"Accepted and not used by {card.id}." if spec.unused else None
    if spec.drawn:
        note = "Drawn by the farm where absent."
    if spec.kind == "choice":
        bounds: dict[str, Any] = {}
        kind: Any = Literal.__getitem__(spec.choices)
    elif spec.kind == "text":
        bounds = {"max_length": int(spec.max), "pattern": _NO_NUL}
        if spec.min:
            bounds |= {"min_length": int(spec.min), "pattern": _at_least(int(spec.min))}
        kind = str
    else:
        kind = int if spec.kind == "integer" else float
        bounds = {"ge": kind(spec.min), "le": kind(spec.max)}
    checked = Annotated[kind, Field(**bounds)]
    if spec.required:
        return (checked, Field(description=note))
    kind = checked | None if nullable else checked
    return (kind, Field(default=spec.default, description=note))


def webhook_field(*, nullable: bool = True, note: str = WEBHOOK_NOTE) -> Any:
    """``webhook_url`` as pydantic has fields. A form knows no null: not ``nullable`` there."""
    url: Any = Annotated[
        str, Field(min_length=1, max_length=URL_MAX, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+$")
    ]
    return (url | None if nullable else url, Field(default=None, description=note))


def _at_least(length: int) -> str:
    """Text of so many characters, the whitespace around it not counted."""
    if length <= 1:
        return _NOT_BLANK
    return rf"^[^\x00]*{_SEEN}[^\x00]{{{length - 2},}}{_SEEN}[^\x00]*$"


class SubmitHeaders(BaseModel):
    """Headers of every call that creates a job."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="The same key and body within 24 hours give the first answer again.",
    )
