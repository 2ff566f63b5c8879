"""Try-on: two pictures as text and a kind of garment, and the picture that comes of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.callback import FIELD as WEBHOOK
from api.callback import Problems, decode_webhook
from api.storefronts.pixelapi.translate import encode_submission
from api.storefronts.pixelapi.tryon_errors import (
    ImageTooSmall,
    InvalidCategory,
    InvalidImage,
    WrongAspectRatio,
)
from api.strangers import not_known
from farm.cards import ModelCard
from farm.errors import FieldError
from farm.intake.pictures import Read
from farm.intake.urls import FetchPolicy
from farm.parameters import resolve, type_name
from farm.submission import Submission
from farm.types import CREDIT_TENTHS, JobRequest, JobState, Picture
from farm.views import JobView

PERSON, CATEGORY = "person_image", "category"
PERSON_SIDE_MIN_PX = 100

_PREFIX = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)
_SPACE = re.compile(r"\s+", re.ASCII)
_ENCODED = 4 / 3 * (1 + 4 / 76)
"""Characters of base64 for a byte, with the line ends of MIME as JSON escapes them."""
_REST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TryOn:
    """A request for a try-on: everything but the pictures is decided, ``files`` are encoded."""

    params: Mapping[str, Any]
    warnings: tuple[str, ...]
    files: Mapping[str, bytes]
    webhook_url: str | None

    def fingerprint(self) -> dict[str, Any]:
        """What makes two bodies the same request: line ends in base64 make no other one."""
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        return {**self.params, "files": hashes, WEBHOOK: self.webhook_url}

    def job(self, card: ModelCard, pictures: Mapping[str, Picture]) -> JobRequest:
        """The job, with its pictures decoded."""
        return JobRequest(
            card.id, card.operation, self.params, self.warnings, pictures, self.webhook_url
        )


def body_bytes_max(card: ModelCard) -> int:
    """How long a body may be in which every picture is as large as the card allows."""
    return _REST_BYTES + round(sum(spec.bytes_max for spec in card.inputs.values()) * _ENCODED)


def decode_tryon(body: Mapping[str, Any], card: ModelCard, policy: FetchPolicy) -> TryOn:
    """The body of ``POST /v1/virtual-tryon``, its pictures taken out of their base64.

    Raises:
        InvalidRequest: naming every field that is missing, of the wrong type or out of range.
        InvalidCategory: the category is none of the card's.
        InvalidImage: a picture is not base64.
    """
    problems = Problems()
    problems.errors += [e for name in card.inputs if (e := _text_error(body, name)) is not None]
    webhook_url: str | None = None
    params: Mapping[str, Any] = {}
    warnings: tuple[str, ...] = ()
    with problems.gathered():
        webhook_url = decode_webhook(body.get(WEBHOOK), policy)
    with problems.gathered():
        params, warnings = resolve(card, {n: body[n] for n in card.params if n in body})
    if [error.field for error in problems.errors] == [CATEGORY]:
        raise InvalidCategory(f"{CATEGORY}: {problems.errors[0].message}")
    problems.check()
    files = {name: _unpacked(body[name], name) for name in card.inputs}
    known = (*card.inputs, *card.params, WEBHOOK)
    return TryOn(params, warnings + not_known(body, known), files, webhook_url)


def decode_pictures(tryon: TryOn, card: ModelCard, read: Read) -> dict[str, Picture]:
    """Both pictures, the person's upright and large enough.

    Raises:
        UnreadableImage, TooLarge, InvalidRequest: see :func:`farm.intake.pictures.read_picture`.
        ImageTooSmall, WrongAspectRatio: what the person's picture is.
    """
    pictures = {}
    for name, data in tryon.files.items():
        pictures[name] = read(data, name, card.inputs[name])
        if name == PERSON:
            _check_person(pictures[name])
    return pictures


def encode_tryon(submission: Submission, words: Mapping[JobState, str]) -> dict[str, Any]:
    """The answer to a submit."""
    answer = encode_submission(submission, words)
    answer["job_id"] = answer.pop("generation_id")
    del answer["operation"]
    return answer


def encode_tryon_job(
    job: JobView, words: Mapping[JobState, str], result: bytes | None
) -> dict[str, Any]:
    """How a try-on stands, with the file of its result where there is one."""
    answer: dict[str, Any] = {
        "job_id": str(job.id),
        "status": words[job.state],
        "result_image_b64": None if result is None else base64.b64encode(result).decode("ascii"),
        "inference_time_ms": job.processing_ms,
        "error_message": job.error_message,
        "credits_used": job.credits_tenths / CREDIT_TENTHS,
    }
    if job.error_code is not None:
        answer["error"] = job.error_code
    return answer


def _text_error(body: Mapping[str, Any], name: str) -> FieldError | None:
    value = body.get(name)
    if value is None:
        return FieldError(name, "is required: the picture's file, encoded as base64.")
    if not isinstance(value, str):
        return FieldError(name, f"must be base64 text, not {type_name(value)}.")
    return None


def _unpacked(text: str, name: str) -> bytes:
    """The bytes that base64 stands for. Raises InvalidImage."""
    if prefix := _PREFIX.match(text):
        text = text[prefix.end() :]
    try:
        return base64.b64decode(_SPACE.sub("", text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"{name}: is not base64.") from error


def _check_person(picture: Picture) -> None:
    size = f"{picture.width}x{picture.height}"
    if min(picture.width, picture.height) < PERSON_SIDE_MIN_PX:
        raise ImageTooSmall(
            f"{PERSON}: has {size} pixels, and needs {PERSON_SIDE_MIN_PX} on each side.", size
        )
    if picture.width > picture.height:
        raise WrongAspectRatio(f"{PERSON}: is wider than tall, with {size} pixels.", size)
