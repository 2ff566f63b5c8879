"""The answers to those who wait: once all of a request's pictures are there, or time is up."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response

from api.outputs import read_output
from api.request import FarmRequest
from api.runtime import Runtime
from api.storefronts.pixapi import translate
from api.storefronts.pixapi.ids import encode_id
from api.storefronts.pixapi.problems import failure_of, render_error, status_of
from api.waiting.calls import until_ended
from api.waiting.guests import Later, Reply
from farm.errors import FarmError, StillRunning, StorageUnavailable
from farm.submission import Batch
from farm.types import JobState
from farm.views import JobView

_DO_NOT_RETRY = (("x-should-retry", "false"),)
"""OpenAI's clients send a request again that ends in a 409 or 5xx, which here would make and
charge the pictures once more; they obey this header."""


class Answers:
    """One process's answers to the synchronous calls."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._wait_s = runtime.settings.sync_wait_s
        self._pricing_url = runtime.settings.pricing_url
        self._link = translate.link(runtime.signer, runtime.settings.public_url.rstrip("/"))

    def once_made(self, request: FarmRequest, made: Batch, *, as_base64: bool) -> Response:
        """The answer to a request whose jobs are these; its client leaves its thread."""

        def conclude(jobs: Sequence[JobView]) -> Reply | Later:
            if not all(job.state.is_terminal for job in jobs):
                raise StillRunning(
                    f"This takes longer than the {self._wait_s:g} s that a request may wait. It "
                    f"goes on: GET /v1/tasks/{encode_id(made.id)} tells how it stands."
                )
            if not any(job.state is JobState.SUCCEEDED for job in jobs):
                raise failure_of(jobs)
            if as_base64:
                return lambda: self._inline(jobs)
            return Reply.of(200, translate.encode_images(jobs, self._link))

        job_ids = [job.job_id for job in made.jobs]
        response = until_ended(
            self._runtime, request, job_ids, self._wait_s, conclude, self._refuse
        )
        if made.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return response

    def _inline(self, jobs: Sequence[JobView]) -> Reply:
        """The pictures themselves, read from storage. Raises StorageUnavailable."""
        services = self._runtime.services
        contents = {}
        for job in jobs:
            if job.state is JobState.SUCCEEDED:
                data = read_output(services, job)
                if data is None:
                    raise StorageUnavailable(
                        f"The pictures of {encode_id(job.batch_id)} were made, and can no longer "
                        "be read."
                    )
                contents[job.id.hex] = data
        return Reply.of(200, translate.encode_images(jobs, translate.inline(contents)))

    def _refuse(self, error: FarmError) -> Reply:
        body = render_error(error, self._pricing_url)
        return Reply.of(status_of(error.code), body, _DO_NOT_RETRY)
