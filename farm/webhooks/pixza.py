"""A generation as Pixza's customers see it: what its API answers and what its webhooks say.

The webhook's body is the very object that a poll gives, and whoever sends webhooks has no API
beside it; so the object is made here. Pure.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from farm.types import JobState
from farm.views import JobView
from farm.words import iso_time, plain_credits, receipt

STATUS = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.BLOCKED: "blocked",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}
TYPES = {
    "generate": "image",
    "edit": "image",
    "video": "video",
    "image-to-video": "video",
    "3d": "3d",
}
"""What each operation makes, in this storefront's words."""
ID_PREFIX = "gen_"
_INPUT = "input_image"

_REASONS = {
    JobState.FAILED: "The generation failed. Nothing was charged.",
    JobState.BLOCKED: "The content policy refused this. Nothing was charged.",
    JobState.CANCELLED: "The generation was cancelled. Nothing was charged.",
    JobState.EXPIRED: "The generation did not start in time. Nothing was charged. Send it again.",
}


def encode_id(job_id: uuid.UUID) -> str:
    """A job's id as the wire has it."""
    return f"{ID_PREFIX}{job_id.hex}"


def outline(
    *,
    job_id: uuid.UUID,
    state: JobState,
    operation: str,
    model: str,
    params: Mapping[str, Any],
    credits_tenths: int,
    created_at: datetime,
    output_url: str | None = None,
    size: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What every answer about a generation has. ``size`` is that of the result, once known."""
    pixels = size if size is not None and "width" in size else params
    return {
        "id": encode_id(job_id),
        "status": STATUS[state],
        "type": TYPES[operation],
        "model": model,
        "prompt": params.get("prompt", ""),
        "output_url": output_url,
        "width": pixels.get("width"),
        "height": pixels.get("height"),
        "credits_used": plain_credits(credits_tenths),
        "created_at": iso_time(created_at),
    }


def generation(job: JobView, output_url: str | None) -> dict[str, Any]:
    """The whole object of a job, but for what is known of its place in the queue."""
    answer = outline(
        job_id=job.id,
        state=job.state,
        operation=job.operation,
        model=job.sold_model,
        params=job.params,
        credits_tenths=job.credits_tenths,
        created_at=job.created_at,
        output_url=output_url,
        size=job.facts,
    )
    answer |= {"attempts": job.attempt, "receipt": receipt(job)}
    seed = job.facts.get("seed", job.params.get("seed"))
    if seed is not None:
        answer["seed"] = seed
    if job.finished_at is not None:
        answer["completed_at"] = iso_time(job.finished_at)
    if job.processing_ms is not None:
        answer["processing_ms"] = job.processing_ms
    if job.served_by is not None:
        answer["served_by"] = job.served_by
    if job.state is JobState.CANCELLED and job.finished_at is not None:
        answer["cancel_requested_at"] = iso_time(job.finished_at)
        if job.freed_at is not None:
            answer["worker_freed_at"] = iso_time(job.freed_at)
    if job.steps:
        answer["progress"] = {"step": job.step, "steps": job.steps}
    if job.state in _REASONS:
        # The farm calls a picture's URL after the picture.
        reason = job.error_message or _REASONS[job.state]
        answer["error"] = job.error_code or job.state.value
        answer["message"] = reason.replace("image_url", _INPUT)
    if job.warnings:
        answer["warnings"] = list(job.warnings)
    return answer
