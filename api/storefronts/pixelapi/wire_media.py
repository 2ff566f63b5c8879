"""The answers about audio and video, as the documentation shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.storefronts.pixelapi.wire import Submitted

_ID = "4d28614e-8ded-4108-91af-4116728f4eb5"
_SECONDS = Field(
    ge=0, description="How long it will run: what this model took here, else what is typical."
)


class VideoSubmitted(Submitted):
    """An accepted request. ``credits_used`` is the price that is held."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "generation_id": _ID,
                    "status": "queued",
                    "model": "wan2.1",
                    "credits_used": 50.0,
                    "estimated_seconds": 90.0,
                }
            ]
        }
    )

    estimated_seconds: float = _SECONDS


class AudioSubmitted(Submitted):
    """An accepted request. ``credits_used`` is the price that is held."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "generation_id": _ID,
                    "status": "queued",
                    "model": "musicgen-small",
                    "duration": 10,
                    "credits_used": 5.0,
                    "estimated_seconds": 30.0,
                }
            ]
        }
    )

    duration: int = Field(description="Seconds.")
    estimated_seconds: float = _SECONDS


class Video(BaseModel):
    """A video and how it stands; null is what is not known yet."""

    generation_id: str
    id: str
    status: Literal[
        "queued", "pending", "processing", "completed", "failed", "blocked", "cancelled"
    ]
    output_url: str | None = Field(description="Once completed; an MP4, valid for 24 hours.")
    processing_ms: int | None
    error_message: str | None
