"""The first answer to a request: at once, or when the image is ready."""

from __future__ import annotations

from typing import Any

from flask import Response

from api.accept import accepted_reply
from api.request import FarmRequest
from api.runtime import Runtime
from api.storefronts.pixza import translate
from api.waiting.calls import check_room, until_ended
from api.waiting.guests import Reply
from farm.errors import Overloaded, RateLimited
from farm.submission import Submission
from farm.types import JobRequest, JobState
from farm.views import JobView

_WAITED_FOR = "image"
_ASYNC = "respond-async"


class Desk:
    """One process's first answers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._wait_s = runtime.settings.pixza_wait_s
        self._public_url = runtime.settings.public_url.rstrip("/")

    def answer(self, request: FarmRequest, made: Submission, job: JobRequest) -> Response:
        """The object of a job that was just accepted; of an image, once it has ended or the
        time is up."""
        first = translate.encode_submission(made, job)
        is_async = translate.prefers_async(request.environ.get("HTTP_PREFER", ""))
        waits = first["type"] == _WAITED_FOR and made.state is JobState.QUEUED and not is_async
        if waits and self._has_room(request):
            # Whatever goes wrong meanwhile, the job is there and its id is worth having.
            response = until_ended(
                self._runtime,
                request,
                [made.job_id],
                self._wait_s,
                lambda jobs: Reply.of(200, self._shown(jobs[0])),
                lambda _: Reply.of(200, first),
            )
        else:
            response = accepted_reply(first, made)
        if made.replayed:
            response.headers["Idempotency-Replayed"] = "true"
        if is_async:
            response.headers["Preference-Applied"] = _ASYNC
        return response

    def _shown(self, job: JobView) -> dict[str, Any]:
        placed = self._runtime.outlooks.placed(job)
        return translate.encode_job([placed], "", self._runtime.signer, self._public_url)

    def _has_room(self, request: FarmRequest) -> bool:
        """Whether there is a wait at all: who finds the room full is answered at once."""
        if not self._wait_s:
            return False
        try:
            check_room(self._runtime, request)
        except (RateLimited, Overloaded):
            return False
        return True
