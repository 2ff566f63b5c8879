"""The paths of the storefront. No decisions here: decode, one use case, encode."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.sansio.blueprints import BlueprintSetupState
from spectree import SpecTree

from api.accept import accept
from api.auth import Access, needs
from api.bodies import read_object
from api.docs import Answers
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from api.storefronts.pixza import translate, wire
from api.storefronts.pixza.answers import Desk
from api.storefronts.pixza.ids import GenerationId, GenerationIdConverter
from farm import views

STOREFRONT = "pixza"
_ID = {"generation_id": "The id that the generation was answered with."}


def blueprint(runtime: Runtime, spec: SpecTree) -> Blueprint:
    """The storefront's routes for one process."""
    base = runtime.services.catalog.storefronts[STOREFRONT].base_path
    routes = Blueprint(STOREFRONT, __name__, url_prefix=base)
    routes.record(_know_ids)
    _add_generate(routes, runtime, spec)
    _add_reads(routes, runtime, spec)
    _add_account(routes, runtime, spec)
    return routes


def _know_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["pixza_generation"] = GenerationIdConverter


def _add_generate(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    offers, bytes_max = runtime.services.offers, runtime.settings.body_bytes_max
    desk = Desk(runtime)

    @routes.post("/generate")
    @spec.validate(
        json=wire.generate_request(offers, STOREFRONT),
        headers=wire.GenerateHeaders,
        resp=Answers(HTTP_200=wire.Generation, **wire.SUBMIT_ERRORS),
        tags=["Generate"],
        skip_validation=True,
    )
    @needs(Access.SUBMIT, STOREFRONT)
    def generate() -> Response:
        """Generate an image, a video or a 3D model.

        An image that is ready within a few seconds comes back `completed`; everything else is
        answered at once or when that time is up, and polled. The price is held, and charged
        only for a success.
        """
        request = current_request()
        body = read_object(request, bytes_max)
        job = translate.decode_generate(body, offers, STOREFRONT, runtime.fetch_policy)
        made = accept(runtime, request, job, lambda: body)
        return desk.answer(request, made, job)


def _add_reads(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    services, signer = runtime.services, runtime.signer
    public_url = runtime.settings.public_url.rstrip("/")

    @routes.get("/generate/<pixza_generation:generation_id>")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Generation, **wire.ONE_ERRORS),
        path_parameter_descriptions=_ID,
        tags=["Generate"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def generation(generation_id: GenerationId) -> Response:
        """A generation, of every type; poll it until it has ended."""
        request = current_request()
        job = views.get_job(services.db, request.caller().account_id, generation_id.job_id)
        job = runtime.outlooks.placed(job)
        return json_reply(translate.encode_job([job], request.agent, signer, public_url))

    @routes.get("/generations")
    @spec.validate(
        query=wire.PageQuery,
        resp=Answers(HTTP_200=wire.Generations, **wire.QUERY_ERRORS),
        tags=["Generate"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def generations() -> Response:
        """The account's generations, newest first."""
        request = current_request()
        limit, cursor = translate.decode_page(request.args)
        account_id = request.caller().account_id
        jobs = views.newest_jobs(services.db, account_id, limit=limit + 1, before=cursor)
        jobs = [runtime.outlooks.placed(job) for job in jobs]
        return json_reply(translate.encode_page(jobs, limit, signer, public_url))


def _add_account(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    services, weights = runtime.services, runtime.settings.weights
    shop = services.catalog.storefronts[STOREFRONT]

    @routes.get("/models")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Models, **wire.READ_ERRORS),
        tags=["Models"],
        security=[{"Bearer": []}, {}],
        skip_validation=True,
    )
    @needs(Access.PUBLIC, STOREFRONT)
    def models() -> Response:
        """What there is to choose from, with prices. Needs no key."""
        return json_reply(translate.encode_models(services.offers, shop, weights))

    @routes.get("/credits")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Credits, **wire.READ_ERRORS),
        tags=["Account"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def credits_left() -> Response:
        """What can be spent now; what is held by generations under way is not in it."""
        account = views.balance(services.db, current_request().caller().account_id)
        return json_reply(translate.encode_credits(account))
