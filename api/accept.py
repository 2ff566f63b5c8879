"""The last step of every endpoint that makes jobs: submit them and ring for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response

from api.days import within_the_day
from api.idempotency import Fingerprint, read_idempotency
from api.replies import json_reply
from api.request import FarmRequest
from api.runtime import Runtime
from farm.batches import submit_batch
from farm.crash_points import ANSWER, reach
from farm.submission import Batch, Submission
from farm.submit import submit
from farm.types import JobRequest, JobState


def accept(
    runtime: Runtime, request: FarmRequest, job: JobRequest, fingerprint: Fingerprint
) -> Submission:
    """One job of a request that was understood.

    Args:
        fingerprint: asked for where there is an Idempotency-Key.

    Raises:
        FarmError: see :func:`farm.submit.submit`.
    """
    idempotency = read_idempotency(request, fingerprint)
    services, caller = runtime.services, request.caller()
    submission = within_the_day(
        runtime, caller, idempotency, lambda: submit(services, caller, job, idempotency)
    )
    if submission.state is JobState.QUEUED and not submission.replayed:
        runtime.dispatcher.ring(submission.ring)
    reach(ANSWER)
    return submission


def accept_batch(
    runtime: Runtime, request: FarmRequest, jobs: Sequence[JobRequest], fingerprint: Fingerprint
) -> Batch:
    """Several jobs of one request, all or none; see :func:`farm.batches.submit_batch`."""
    idempotency = read_idempotency(request, fingerprint)
    services, caller = runtime.services, request.caller()
    batch = within_the_day(
        runtime, caller, idempotency, lambda: submit_batch(services, caller, jobs, idempotency)
    )
    for ring in batch.rings:
        runtime.dispatcher.ring(ring)
    reach(ANSWER)
    return batch


def accepted_reply(body: Mapping[str, Any], made: Submission | Batch) -> Response:
    """The answer to a submit; a header says where an earlier request had made the jobs."""
    response = json_reply(body)
    if made.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
