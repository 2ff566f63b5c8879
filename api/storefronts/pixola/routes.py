"""The paths of the storefront. No decisions here: decode, one use case, encode."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response
from flask.sansio.blueprints import BlueprintSetupState
from spectree import SpecTree

from api.accept import accept_batch, accepted_reply
from api.auth import Access, needs
from api.bodies import read_object
from api.docs import Answers
from api.param_shapes import SubmitHeaders
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from api.storefronts.pixola import decode, translate, wire
from api.storefronts.pixola.catalogue_routes import add_catalogue
from api.storefronts.pixola.ids import BatchIdConverter, ImageIdConverter
from api.storefronts.pixola.lists import images_page
from api.storefronts.pixola.wire import STOREFRONT
from farm import favorites, views
from farm.styles import built_in_styles

BASE = "/pixola/api/v1"


def blueprint(runtime: Runtime, spec: SpecTree) -> Blueprint:
    """The storefront's routes for one process."""
    routes = Blueprint(STOREFRONT, __name__, url_prefix=BASE)
    routes.record(_know_ids)
    _add_generate(routes, runtime, spec)
    _add_batches(routes, runtime, spec)
    _add_images(routes, runtime, spec)
    _add_credits(routes, runtime, spec)
    add_catalogue(routes, runtime, spec, BASE)
    return routes


def _know_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["pixola_batch"] = BatchIdConverter
    state.app.url_map.converters["pixola_image"] = ImageIdConverter


def _add_generate(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    offers, book = runtime.services.offers, built_in_styles()
    bytes_max, policy = runtime.settings.body_bytes_max, runtime.fetch_policy

    @routes.post("/generate")
    @spec.validate(
        json=wire.generate_request(offers, book),
        headers=SubmitHeaders,
        resp=Answers(HTTP_200=wire.Submitted, **wire.SUBMIT_ERRORS),
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.SUBMIT, STOREFRONT)
    def generate() -> Response:
        """Generate a batch of images.

        Answers at once with the batch's id. The price of all images is held; each is charged
        when it is made.
        """
        request = current_request()
        body = read_object(request, bytes_max)
        jobs = decode.decode_generate(body, offers, book, policy)
        batch = accept_batch(runtime, request, jobs, lambda: body)
        return accepted_reply(translate.encode_submission(batch), batch)


def _add_batches(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    db, signer = runtime.services.db, runtime.signer
    public_url = runtime.settings.public_url.rstrip("/")

    @routes.get("/batches")
    @spec.validate(
        query=wire.BatchesQuery,
        resp=Answers(HTTP_200=wire.Batches, **wire.QUERY_ERRORS),
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def list_batches() -> Response:
        """The account's batches, newest first."""
        request = current_request()
        page = decode.decode_batches_query(request.args)
        account_id = request.caller().account_id
        found = views.newest_batches(db, account_id, limit=page.limit + 1, before=page.before)
        return json_reply(translate.encode_batches(found, page.limit))

    @routes.get("/batches/<pixola_batch:batch_id>")
    @spec.validate(
        resp=Answers(HTTP_200=wire.BatchStatus, **wire.ONE_ERRORS),
        path_parameter_descriptions={"batch_id": "What POST /generate answered with."},
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def batch_status(batch_id: uuid.UUID) -> Response:
        """A batch with its images; poll it until its status is no longer `processing`."""
        request = current_request()
        jobs = views.get_batch(db, request.caller().account_id, batch_id)
        placed = [runtime.outlooks.placed(job) for job in jobs]
        return json_reply(translate.encode_batch(placed, request.agent, signer, public_url))


def _add_images(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    db, signer = runtime.services.db, runtime.signer
    bytes_max = runtime.settings.body_bytes_max
    public_url = runtime.settings.public_url.rstrip("/")
    described = {"image_id": "What a batch's status and the list of images show."}

    @routes.get("/images")
    @spec.validate(
        query=wire.ImagesQuery,
        resp=Answers(HTTP_200=wire.Images, **wire.QUERY_ERRORS),
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def list_images() -> Response:
        """The account's images, newest first; of one batch where `batchId` says so."""
        request = current_request()
        page = decode.decode_images_query(request.args)
        batch = decode.decode_batch_filter(request.args)
        found = images_page(db, request.caller().account_id, page, batch)
        hearts = favorites.marked(db, [job.id for job in found])
        return json_reply(translate.encode_images(found, page.limit, hearts, signer, public_url))

    @routes.get("/images/<pixola_image:image_id>")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Image, **wire.ONE_ERRORS),
        path_parameter_descriptions=described,
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def image_status(image_id: uuid.UUID) -> Response:
        """One image with its prompt."""
        job = views.get_job(db, current_request().caller().account_id, image_id)
        job = runtime.outlooks.placed(job)
        hearts = favorites.marked(db, [job.id])
        return json_reply(translate.encode_image(job, hearts, signer, public_url))

    @routes.patch("/images/<pixola_image:image_id>")
    @spec.validate(
        json=wire.ImageChange,
        resp=Answers(HTTP_200=wire.Image, **wire.CHANGE_ERRORS),
        path_parameter_descriptions=described,
        tags=["Images"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def change_image(image_id: uuid.UUID) -> Response:
        """Mark an image as a favourite, or no longer as one."""
        request = current_request()
        favorite = decode.decode_favorite(read_object(request, bytes_max))
        account_id = request.caller().account_id
        favorites.mark(db, account_id, image_id, favorite=favorite)
        job = views.get_job(db, account_id, image_id)
        hearts = favorites.marked(db, [job.id])
        return json_reply(translate.encode_image(job, hearts, signer, public_url))


def _add_credits(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    @routes.get("/credits")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Balance, **wire.READ_ERRORS),
        tags=["Account"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def credits_left() -> Response:
        """What can be spent now; what batches under way hold is not in it."""
        account = views.balance(runtime.services.db, current_request().caller().account_id)
        return json_reply(translate.encode_credits(account))
