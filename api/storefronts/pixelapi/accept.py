"""The last step of every endpoint that makes a job: submit it, ring for it, answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response

from api.idempotency import Fingerprint, read_idempotency
from api.replies import json_reply
from api.request import FarmRequest
from api.runtime import Runtime
from api.storefronts.pixelapi import translate
from farm.submission import Submission
from farm.submit import submit
from farm.types import JobRequest, JobState

Encode = Callable[[Submission, Mapping[JobState, str]], dict[str, Any]]
"""Writes the answer, in the words that this client knows."""


def accept(
    runtime: Runtime,
    request: FarmRequest,
    job: JobRequest,
    fingerprint: Fingerprint,
    encode: Encode = translate.encode_submission,
) -> Response:
    """The answer to a request that was understood.

    Args:
        fingerprint: asked for where there is an Idempotency-Key.
    """
    idempotency = read_idempotency(request, fingerprint)
    submission = submit(runtime.services, request.caller(), job, idempotency)
    if submission.state is JobState.QUEUED and not submission.replayed:
        runtime.dispatcher.ring(submission.ring)
    words = translate.statuses_for(request.agent)
    response = json_reply(encode(submission, words))
    if submission.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
