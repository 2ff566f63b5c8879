"""The paths of the storefront. No decisions here: decode, one use case, encode."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response
from spectree import Response as Answers
from spectree import SpecTree

from api.auth import Access, needs
from api.bodies import read_object
from api.idempotency import read_idempotency
from api.replies import json_reply
from api.request import FarmRequest, current_request
from api.runtime import Runtime
from api.storefronts.pixelapi import translate, wire
from farm import views
from farm.submit import submit
from farm.types import JobRequest, JobState

STOREFRONT = "pixelapi"


def blueprint(runtime: Runtime, spec: SpecTree) -> Blueprint:
    """The storefront's routes for one process."""
    routes = Blueprint(STOREFRONT, __name__)
    _add_images(routes, runtime, spec)
    _add_account(routes, runtime, spec)
    return routes


def _accept(
    runtime: Runtime, request: FarmRequest, job: JobRequest, body: dict[str, object]
) -> Response:
    idempotency = read_idempotency(request, body)
    submission = submit(runtime.services, request.caller(), job, idempotency)
    if submission.state is JobState.QUEUED and not submission.replayed:
        runtime.dispatcher.ring(submission.ring)
    words = translate.statuses_for(request.agent)
    response = json_reply(translate.encode_submission(submission, words))
    if submission.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _add_images(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    services, signer = runtime.services, runtime.signer
    bytes_max = runtime.settings.body_bytes_max
    public_url = runtime.settings.public_url.rstrip("/")
    generate_request = wire.generate_request(services.catalog, STOREFRONT)

    @routes.post("/v1/image/generate")
    @spec.validate(
        json=generate_request,
        headers=wire.SubmitHeaders,
        resp=Answers(HTTP_200=wire.Submitted, **wire.SUBMIT_ERRORS),
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.SUBMIT, STOREFRONT)
    def generate_image() -> Response:
        """Generate an image.

        Answers at once with an id. The price is held, and charged only when the image is made.
        """
        request = current_request()
        body = read_object(request, bytes_max)
        job = translate.decode_generate(body, services.catalog, STOREFRONT)
        return _accept(runtime, request, job, body)

    @routes.get("/v1/image/<uuid:generation_id>")
    @routes.get("/v1/image/upscale/<uuid:generation_id>", endpoint="upscale_status")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Generation, **wire.READ_ERRORS),
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def generation_status(generation_id: uuid.UUID) -> Response:
        """The status of a generation, of every kind; poll it until it has ended."""
        request = current_request()
        job = views.get_job(services.db, request.caller().account_id, generation_id)
        words = translate.statuses_for(request.agent)
        return json_reply(translate.encode_job(job, words, signer, public_url))


def _add_account(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    services, signer = runtime.services, runtime.signer
    public_url = runtime.settings.public_url.rstrip("/")

    @routes.get("/v1/account/balance")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Balance, **wire.READ_ERRORS),
        tags=["Account"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def account_balance() -> Response:
        """What can be spent now; what is held by generations under way is not in it."""
        account = views.balance(services.db, current_request().caller().account_id)
        return json_reply(translate.encode_balance(account))

    @routes.get("/v1/account/usage")
    @spec.validate(
        query=wire.UsageQuery,
        resp=Answers(HTTP_200=wire.Usage, HTTP_422=wire.Problem, **wire.READ_ERRORS),
        tags=["Account"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def account_usage() -> Response:
        """The account's generations, newest first."""
        request = current_request()
        limit, days = translate.decode_usage_query(request.args)
        caller = request.caller()
        jobs, total = views.list_jobs(services.db, caller.account_id, limit=limit, days=days)
        words = translate.statuses_for(request.agent)
        return json_reply(translate.encode_usage(jobs, total, words, signer, public_url))
