"""The dialect's words for the farm's things: bodies in, answers out. Pure: no I/O, no Flask."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from api.storefronts.pixapi.ids import encode_id
from api.storefronts.pixapi.orders import (
    PATHS,
    STANDARD,
    Order,
    decode_pictures,
    find_offer,
)
from api.storefronts.pixapi.problems import job_problem
from farm.cards import ModelCard
from farm.intake.urls import FetchPolicy
from farm.offers import Offers
from farm.storage import UrlSigner
from farm.submission import Batch
from farm.types import JobState
from farm.views import JobView
from farm.words import credits_of, output_url, unix_time

STATUS = {
    JobState.QUEUED: "submitted",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.BLOCKED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}
_FORMATS = {"jpg": "jpeg"}


def decode_generation(body: Mapping[str, Any], offers: Offers, policy: FetchPolicy) -> Order:
    """The body of ``POST /v1/images/generations``. Raises InvalidRequest."""
    offer = find_offer(offers, body, ("generate",), required=True)
    return decode_pictures(body, offer, policy)


def endpoint(card: ModelCard) -> str:
    """Where a model is asked for first."""
    return PATHS.get(card.operation, card.endpoint)


def link(signer: UrlSigner, public_url: str) -> Callable[[JobView], dict[str, str]]:
    """Shows a result as the URL where it may be fetched."""
    return lambda job: {"url": output_url(job, signer, public_url) or ""}


def inline(contents: Mapping[str, bytes]) -> Callable[[JobView], dict[str, str]]:
    """Shows a result as what it is; ``contents`` are the results by their jobs' ids."""
    return lambda job: {"b64_json": base64.b64encode(contents[job.id.hex]).decode("ascii")}


def encode_images(
    jobs: Sequence[JobView], show: Callable[[JobView], dict[str, str]]
) -> dict[str, Any]:
    """The answer to whoever waited, where at least one of the jobs succeeded."""
    made = [job for job in jobs if job.state is JobState.SUCCEEDED]
    first = made[0]
    answer: dict[str, Any] = {
        "created": unix_time(first.created_at),
        "data": [show(job) for job in made],
        "size": _size_of(first),
        "quality": first.about.get("quality", STANDARD),
        "output_format": _format_of(first),
        "usage": {"credits": credits_of(sum(job.credits_tenths for job in jobs))},
    }
    return answer | _what_else(jobs)


def encode_submission(made: Batch) -> dict[str, Any]:
    """The answer to whoever does not wait."""
    first = made.jobs[0]
    answer: dict[str, Any] = {
        "id": encode_id(made.id),
        "object": "task",
        "status": STATUS[JobState.QUEUED],
        "progress": 0,
        "model": first.model,
        "created": unix_time(first.created_at),
    }
    return answer | ({"warnings": list(first.warnings)} if first.warnings else {})


def encode_task(
    jobs: Sequence[JobView], agent: str, signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """A task and how it stands: all the jobs of one request."""
    first, show = jobs[0], link(signer, public_url)
    made = [job for job in jobs if job.state is JobState.SUCCEEDED]
    ended = all(job.state.is_terminal for job in jobs)
    status = _status_of(jobs)
    answer: dict[str, Any] = {
        "id": encode_id(first.batch_id),
        "object": "task",
        "status": status,
        "progress": _progress(jobs),
        "model": first.sold_model,
        "created": unix_time(first.created_at),
        "completed": max(map(_finished, jobs)) if ended else None,
        "data": [show(job) for job in made if job.output_path] if status == "completed" else [],
        "error": job_problem(_culprit(jobs)) if status in ("failed", "cancelled") else None,
        "served_by": ", ".join(dict.fromkeys(job.served_by for job in jobs if job.served_by))
        or None,
    }
    if ended:
        answer["usage"] = {"credits": credits_of(sum(job.credits_tenths for job in jobs))}
        if made:
            answer |= _what_else(jobs)
    elif first.warnings:
        answer["warnings"] = list(first.warnings)
    return answer


def _what_else(jobs: Sequence[JobView]) -> dict[str, Any]:
    """What only some answers have: results that failed beside others, and warnings."""
    failed = [
        {"index": job.batch_place, "error": problem}
        for job in jobs
        if (problem := job_problem(job)) is not None
    ]
    more: dict[str, Any] = {"failed": failed} if failed else {}
    if jobs[0].warnings:
        more["warnings"] = list(jobs[0].warnings)
    return more


def _status_of(jobs: Sequence[JobView]) -> str:
    states = {STATUS[job.state] for job in jobs}
    if len(states) == 1:
        return states.pop()
    if states & {"submitted", "processing"}:
        return "processing"
    return "completed" if "completed" in states else "failed"


def _culprit(jobs: Sequence[JobView]) -> JobView:
    """The job whose error is the task's."""
    return next((job for job in jobs if job.state is not JobState.CANCELLED), jobs[0])


def _progress(jobs: Sequence[JobView]) -> int:
    """Percent of all steps: those that the models have reported."""
    done = sum(_share(job) for job in jobs) / len(jobs)
    over = all(job.state is JobState.SUCCEEDED for job in jobs) or _status_of(jobs) == "completed"
    return 100 if over else min(99, int(100 * done))


def _share(job: JobView) -> float:
    if job.state is JobState.SUCCEEDED:
        return 1.0
    return min(1.0, job.step / job.steps) if job.steps else 0.0


def _finished(job: JobView) -> int:
    assert job.finished_at is not None, "a job that has ended has ended at some time"
    return unix_time(job.finished_at)


def _size_of(job: JobView) -> str:
    """The size of a picture as it was made."""
    known = job.facts if "width" in job.facts else job.params
    return f"{known['width']}x{known['height']}" if "width" in known else "auto"


def _format_of(job: JobView) -> str:
    """The format of a picture as it was made."""
    suffix = PurePosixPath(job.output_path or "").suffix.removeprefix(".")
    return _FORMATS.get(suffix, suffix) or str(job.params.get("output_format", "png"))
