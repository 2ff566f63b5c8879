"""The paths of the storefront. No decisions here: decode, one use case, encode."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.sansio.blueprints import BlueprintSetupState
from spectree import SpecTree

from api.accept import accept, accepted_reply
from api.auth import Access, needs
from api.bodies import read_object
from api.docs import Answers
from api.param_shapes import SubmitHeaders
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from api.storefronts.pixelapi import translate, wire
from api.storefronts.pixelapi.edit_routes import add_edits
from api.storefronts.pixelapi.ids import GenerationId, GenerationIdConverter
from api.storefronts.pixelapi.media_routes import add_media
from api.storefronts.pixelapi.tryon_routes import add_tryon
from farm import views

STOREFRONT = "pixelapi"


def blueprint(runtime: Runtime, spec: SpecTree) -> Blueprint:
    """The storefront's routes for one process."""
    routes = Blueprint(STOREFRONT, __name__)
    routes.record(_know_ids)
    _add_images(routes, runtime, spec)
    add_edits(routes, runtime, spec, STOREFRONT)
    add_media(routes, runtime, spec, STOREFRONT)
    add_tryon(routes, runtime, spec, STOREFRONT)
    _add_account(routes, runtime, spec)
    return routes


def _know_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["generation"] = GenerationIdConverter


def _add_images(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    services, signer = runtime.services, runtime.signer
    bytes_max = runtime.settings.body_bytes_max
    public_url = runtime.settings.public_url.rstrip("/")
    generate_request = wire.generate_request(services.offers, STOREFRONT)

    @routes.post("/v1/image/generate")
    @spec.validate(
        json=generate_request,
        headers=SubmitHeaders,
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
        job = translate.decode_generate(body, services.offers, STOREFRONT, runtime.fetch_policy)
        made = accept(runtime, request, job, lambda: body)
        words = translate.statuses_for(request.agent)
        return accepted_reply(translate.encode_submission(made, words), made)

    @routes.get("/v1/image/<generation:generation_id>")
    @routes.get("/v1/image/upscale/<generation:generation_id>", endpoint="upscale_status")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Generation, **wire.ONE_ERRORS),
        path_parameter_descriptions={"generation_id": "The id that a submit answered with."},
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def generation_status(generation_id: GenerationId) -> Response:
        """The status of a generation, of every kind; poll it until it has ended."""
        request = current_request()
        job = views.get_job(services.db, request.caller().account_id, generation_id.job_id)
        generation_id.check(job.operation)
        job = runtime.outlooks.placed(job)
        return json_reply(translate.encode_job_for([job], request.agent, signer, public_url))


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
        resp=Answers(HTTP_200=wire.Usage, **wire.QUERY_ERRORS),
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
        jobs = [runtime.outlooks.placed(job) for job in jobs]
        words = translate.statuses_for(request.agent)
        return json_reply(translate.encode_usage(jobs, total, words, signer, public_url))
