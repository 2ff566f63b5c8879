"""What every storefront has beside its own paths: wait for a job, watch it, cancel it.

The paths are shared; the job object, the ids and the errors are those of the caller's
storefront.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field
from spectree import SpecTree

from api.auth import Access, needs
from api.dialect import Dialect, JobRef
from api.docs import Answers
from api.errors import error_answer, problems_of
from api.replies import json_reply
from api.request import FarmRequest, current_request
from api.runtime import Runtime
from api.waiting.calls import check_room, until_ended
from api.waiting.guests import Refuse, Render, Reply, Watcher, parse_moments
from api.waiting.handover import Handover
from farm import settle, views
from farm.errors import AlreadyEnded, FieldError, InvalidRequest
from farm.types import JobState
from farm.views import JobView

WAIT_MAX_S = 60.0
WATCH_MAX_S = 3600.0
"""A stream ends after an hour; the client comes back with the last id it saw."""

_ID = "The id that a submit answered with."
_ONE_JOB = ("unauthenticated", "forbidden", "not_found", "rate_limited", "database_unavailable")
_ENDED = {
    JobState.SUCCEEDED: "has already completed",
    JobState.FAILED: "has already failed",
    JobState.BLOCKED: "was blocked",
    JobState.EXPIRED: "has expired",
}


class WaitQuery(BaseModel):
    """How long to wait."""

    wait: float | None = Field(
        default=None,
        ge=0,
        le=WAIT_MAX_S,
        description="Seconds to wait for the job's end before answering.",
    )


def blueprint(
    runtime: Runtime, dialects: Sequence[Dialect], specs: Mapping[str, SpecTree]
) -> Blueprint:
    """``/v1/jobs/…``, documented in every storefront's specification."""
    routes = Blueprint("jobs", __name__)
    by_id = {dialect.id: dialect for dialect in dialects}
    desk = JobDesk(runtime, by_id)

    @needs(Access.READ)
    def job_status(job_id: str) -> Response:
        """A job of any kind; with `wait`, once it has ended or the time is up."""
        return desk.status(current_request(), desk.ref(current_request(), job_id))

    @needs(Access.READ)
    def job_events(job_id: str) -> Response:
        """The job as it goes, as server-sent events: `state` and `end` carry the job,
        `progress` its step, `queue` its place. `Last-Event-ID` goes on where a stream broke.
        Of a request for several pictures all are watched: `index` says whose step or place
        it is, and `end` comes when the last one has ended."""
        return desk.events(current_request(), desk.ref(current_request(), job_id))

    @needs(Access.READ)
    def cancel_job(job_id: str) -> Response:
        """Cancel a job. A queued one never starts, a running one stops within one step of its
        model; nothing is charged. Cancelling twice changes nothing. Of a request for several
        pictures those are cancelled that have not ended."""
        return desk.cancel(current_request(), desk.ref(current_request(), job_id))

    for dialect in dialects:
        spec = specs[dialect.id]
        common: dict[str, Any] = {
            "tags": ["Jobs"],
            "path_parameter_descriptions": {"job_id": _ID},
            "skip_validation": True,
        }
        status, events, cancel = _answers(dialect)
        job_status = spec.validate(query=WaitQuery, resp=status, **common)(job_status)
        job_events = spec.validate(resp=events, **common)(job_events)
        cancel_job = spec.validate(resp=cancel, **common)(cancel_job)
    routes.add_url_rule("/v1/jobs/<job_id>", view_func=job_status)
    routes.add_url_rule("/v1/jobs/<job_id>/events", view_func=job_events)
    routes.add_url_rule("/v1/jobs/<job_id>/cancel", view_func=cancel_job, methods=["POST"])
    for dialect in dialects:
        if dialect.cancel_path:
            _add_own_cancel(routes, desk, dialect, specs[dialect.id])
    return routes


def _add_own_cancel(routes: Blueprint, desk: JobDesk, dialect: Dialect, spec: SpecTree) -> None:
    @spec.validate(
        resp=Answers(**_cancel_answers(dialect), HTTP_405=dialect.problem),
        tags=["Jobs"],
        path_parameter_descriptions={"generation_id": _ID},
        skip_validation=True,
    )
    @needs(Access.READ, dialect.id)
    def cancel(generation_id: JobRef) -> Response:
        """Cancel a job, as `POST /v1/jobs/{id}/cancel` does."""
        return desk.cancel(current_request(), generation_id)

    name = f"{dialect.id}_cancel"
    routes.add_url_rule(dialect.cancel_path, name, cancel, methods=["DELETE"])


def _answers(dialect: Dialect) -> tuple[Answers, Answers, Answers]:
    errors = problems_of(dialect, _ONE_JOB)
    wrong_query = problems_of(dialect, ["invalid_request"])
    return (
        Answers(HTTP_200=dialect.job_shape, **errors, **wrong_query),
        Answers("HTTP_200", "HTTP_204", **errors),
        Answers(**_cancel_answers(dialect)),
    )


def _cancel_answers(dialect: Dialect) -> dict[str, Any]:
    errors = problems_of(dialect, [*_ONE_JOB, "already_ended"])
    return {"HTTP_200": dialect.job_shape, **errors}


class JobDesk:
    """One process's answers about single jobs, in the dialect of whoever asks.

    Where the dialect's ids are those of batches, all the jobs of a batch are meant: a wait ends
    when the last of them has, and to cancel is to cancel those that are still under way.
    """

    def __init__(self, runtime: Runtime, dialects: Mapping[str, Dialect]) -> None:
        self._runtime = runtime
        self._dialects = dialects
        self._public_url = runtime.settings.public_url.rstrip("/")

    def ref(self, request: FarmRequest, text: str) -> JobRef:
        """The id of a shared path, as the caller's storefront writes them. Raises NotFound."""
        return self._dialect(request).read_id(text)

    def status(self, request: FarmRequest, ref: JobRef) -> Response:
        """The job object; after a wait where one is asked for and the job goes on."""
        wait_s = decode_wait(request.args.getlist("wait"))
        jobs = self._jobs(request, ref)
        render = self._renderer(request)
        if _have_ended(jobs) or not wait_s or request.method == "HEAD":
            return json_reply(render([self._runtime.outlooks.placed(job) for job in jobs]))
        check_room(self._runtime, request)
        return until_ended(
            self._runtime,
            request,
            [job.id for job in jobs],
            wait_s,
            lambda jobs: Reply.of(200, render(jobs)),
            self._refuser(request),
        )

    def events(self, request: FarmRequest, ref: JobRef) -> Response:
        """The stream; nothing (204, which ends a client's trying) where it has had the end."""
        jobs = self._jobs(request, ref)
        seen = parse_moments(request.headers.get("Last-Event-ID", ""), len(jobs))
        if _have_ended(jobs) and seen is not None and all(moment.is_end for moment in seen):
            return Response(status=204)
        if request.method == "HEAD":
            return Response(content_type="text/event-stream; charset=utf-8")
        check_room(self._runtime, request)
        job_ids, owner = [job.id for job in jobs], request.caller().key_id
        render, refuse = self._renderer(request), self._refuser(request)
        guest = Watcher(job_ids, owner, WATCH_MAX_S, render, refuse, seen)
        return Handover(self._runtime.room, guest)

    def cancel(self, request: FarmRequest, ref: JobRef) -> Response:
        """The cancelled job.

        Raises:
            NotFound: no such job, or another account's.
            AlreadyEnded: it ended in another way; of a batch, every job did.
        """
        account_id = request.caller().account_id
        jobs = self._jobs(request, ref)
        db = self._runtime.services.db
        states = [settle.cancel(db, account_id, job.id) for job in jobs]
        if JobState.CANCELLED not in states:
            raise AlreadyEnded(f"This job {_ENDED[states[0]]}. There is nothing to cancel.")
        for job, state in zip(jobs, states, strict=True):
            if state is JobState.CANCELLED and not job.state.is_terminal:
                self._runtime.announcer.cancelled(job.id)
        return json_reply(self._renderer(request)(self._jobs(request, ref)))

    def _dialect(self, request: FarmRequest) -> Dialect:
        return self._dialects[request.caller().storefront]

    def _jobs(self, request: FarmRequest, ref: JobRef) -> list[JobView]:
        """The caller's job, or all jobs of its batch. Raises NotFound."""
        db, account_id = self._runtime.services.db, request.caller().account_id
        if self._dialect(request).batched:
            jobs = views.get_batch(db, account_id, ref.job_id)
        else:
            jobs = [views.get_job(db, account_id, ref.job_id)]
        ref.check(jobs[0].operation)
        return jobs

    def _renderer(self, request: FarmRequest) -> Render:
        encode = self._dialect(request).encode_job
        agent, signer, url = request.agent, self._runtime.signer, self._public_url
        return lambda jobs: encode(jobs, agent, signer, url)

    def _refuser(self, request: FarmRequest) -> Refuse:
        dialect, pricing_url = self._dialect(request), self._runtime.settings.pricing_url
        return lambda error: Reply.of(*error_answer(error, dialect, pricing_url))


def _have_ended(jobs: Sequence[JobView]) -> bool:
    return all(job.state.is_terminal for job in jobs)


def decode_wait(values: Sequence[str]) -> float:
    """Seconds from 0 (none) to 60. Raises InvalidRequest."""
    if not values:
        return 0.0
    try:
        wait_s = float(values[0]) if len(values) == 1 and values[0].isascii() else math.nan
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s <= WAIT_MAX_S:
        got = ", ".join(values)
        raise InvalidRequest(
            [FieldError("wait", f"must be a number from 0 to {WAIT_MAX_S:g}, got {got[:40]!r}.")]
        )
    return wait_s
