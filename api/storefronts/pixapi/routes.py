"""The paths of the storefront. No decisions here: decode, one use case, encode."""

from __future__ import annotations

from flask import Blueprint, Response
from spectree import SpecTree

from api.accept import accept_batch, accepted_reply
from api.auth import Access, needs
from api.bodies import read_object
from api.docs import Answers as Documented
from api.param_shapes import SubmitHeaders
from api.replies import json_reply
from api.request import FarmRequest, current_request
from api.runtime import Runtime
from api.storefronts.pixapi import translate, wire
from api.storefronts.pixapi.answers import Answers
from api.storefronts.pixapi.edit_routes import add_edits
from api.storefronts.pixapi.ids import find_task
from api.storefronts.pixapi.orders import GENERATIONS, STOREFRONT, Order
from api.waiting.calls import check_room
from farm.submission import Batch


def blueprint(runtime: Runtime, spec: SpecTree) -> Blueprint:
    """The storefront's routes for one process."""
    routes = Blueprint(STOREFRONT, __name__)
    answers = Answers(runtime)
    _add_generations(routes, runtime, spec, answers)
    add_edits(routes, runtime, spec, answers)
    _add_tasks(routes, runtime, spec)
    return routes


def _add_generations(routes: Blueprint, runtime: Runtime, spec: SpecTree, answers: Answers) -> None:
    services, bytes_max = runtime.services, runtime.settings.body_bytes_max
    documented = {
        "json": wire.generation_request(services.offers),
        "headers": SubmitHeaders,
        "tags": ["Images"],
        "skip_validation": True,
    }

    def order(request: FarmRequest) -> tuple[Order, Batch]:
        body = read_object(request, bytes_max)
        asked = translate.decode_generation(body, services.offers, runtime.fetch_policy)
        return asked, accept_batch(runtime, request, asked.jobs(), lambda: body)

    @routes.post(GENERATIONS)
    @spec.validate(
        resp=Documented(HTTP_200=wire.Images, **wire.WAIT_ERRORS),
        **documented,
    )
    @needs(Access.SUBMIT, STOREFRONT)
    def generate_images() -> Response:
        """Generate images, and wait for them.

        Each of the `n` images is charged when it is made; what fails costs nothing. With a
        `seed` the first image has it, and each further one the next seed; after the largest
        comes the smallest.
        """
        request = current_request()
        check_room(runtime, request)
        asked, made = order(request)
        return answers.once_made(request, made, as_base64=asked.as_base64)

    @routes.post(f"/v1/async{GENERATIONS.removeprefix('/v1')}")
    @spec.validate(
        resp=Documented(HTTP_200=wire.TaskSubmitted, **wire.SUBMIT_ERRORS),
        **documented,
    )
    @needs(Access.SUBMIT, STOREFRONT)
    def generate_images_later() -> Response:
        """Generate images. Answers at once with a task; see `GET /v1/tasks/{task_id}`."""
        _, made = order(current_request())
        return accepted_reply(translate.encode_submission(made), made)


def _add_tasks(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    services, signer = runtime.services, runtime.signer
    public_url = runtime.settings.public_url.rstrip("/")

    @routes.get("/v1/tasks/<task_id>")
    @spec.validate(
        resp=Documented(HTTP_200=wire.Task, **wire.ONE_ERRORS),
        path_parameter_descriptions={"task_id": "The id that a submit answered with."},
        tags=["Tasks"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def task_status(task_id: str) -> Response:
        """A task and how it stands; poll it until it has ended."""
        request = current_request()
        jobs = find_task(services.db, request.caller(), task_id)
        return json_reply(translate.encode_task(jobs, request.agent, signer, public_url))
