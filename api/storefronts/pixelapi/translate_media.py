"""Audio and video: what is said about them that is not said about pictures. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.storefronts.pixelapi import translate
from farm.errors import NotFound
from farm.storage import UrlSigner
from farm.submission import Submission
from farm.types import JobRequest, JobState
from farm.views import JobView

_NOUNS = {"generate": "an image", "audio": "audio", "video": "a video", "try-on": "a try-on"}


def encode_submission(
    submission: Submission,
    words: Mapping[JobState, str],
    job: JobRequest,
    estimated_s: float,
) -> dict[str, Any]:
    """The answer to a submit of audio or video; audio tells its length in seconds."""
    answer = translate.encode_submission(submission, words)
    if job.operation == "audio":
        answer["duration"] = job.params["duration"]
    return answer | {"estimated_seconds": estimated_s}


def encode_video(
    job: JobView, words: Mapping[JobState, str], signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """The status of a video in its own shape; null is what is not known."""
    known = translate.encode_job(job, words, signer, public_url)
    names = ("generation_id", "id", "status", "output_url", "processing_ms", "error_message")
    return {name: known.get(name) for name in names}


def check_kind(job: JobView, operation: str) -> None:
    """Raise NotFound where the job under this path is of another kind."""
    if job.operation != operation:
        kind = _NOUNS.get(job.operation, "an edited image")
        where = "/v1/virtual-tryon/jobs" if job.operation == "try-on" else "/v1/image"
        raise NotFound(
            f"This generation is {kind}, not {_NOUNS[operation]}. See GET {where}/{{id}}."
        )
