"""The two paths of the try-on."""

from __future__ import annotations

import time
from contextlib import ExitStack

from flask import Blueprint, Response
from spectree import SpecTree

from api.accept import accept, accepted_reply
from api.auth import Access, needs
from api.bodies import finish_reading, parse_object, put_aside
from api.docs import Answers
from api.outputs import read_output
from api.param_shapes import SubmitHeaders
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from api.storefronts.pixelapi import tryon, wire, wire_tryon
from api.storefronts.pixelapi.ids import GenerationId
from api.storefronts.pixelapi.media_routes import find_job
from api.storefronts.pixelapi.translate import statuses_for
from api.storefronts.pixelapi.tryon_errors import BodyTooLarge, about_the_body
from farm.cards import ModelCard

OPERATION = "try-on"
_LEFTOVER_S = 5.0
"""How long the rest of a body that is too large is waited for."""


def add_tryon(routes: Blueprint, runtime: Runtime, spec: SpecTree, storefront: str) -> None:
    """Add ``/v1/virtual-tryon``, where it is sold, and ``/v1/virtual-tryon/jobs/<id>``."""
    catalog = runtime.services.catalog
    card = catalog.models[catalog.storefronts[storefront].default_model[OPERATION]]
    if runtime.services.offers.does(storefront, OPERATION):
        _add_submit(routes, runtime, spec, storefront, card)

    @routes.get(f"{card.endpoint}/jobs/<generation:job_id>")
    @spec.validate(
        resp=Answers(HTTP_200=wire_tryon.TryOnJob, **wire.ONE_ERRORS),
        path_parameter_descriptions={"job_id": "The id that the submit answered with."},
        tags=["Try-on"],
        skip_validation=True,
    )
    @needs(Access.READ, storefront)
    def tryon_status(job_id: GenerationId) -> Response:
        """The status of a try-on, and its picture; poll it until it has ended."""
        words = statuses_for(current_request().agent)
        job = find_job(runtime, job_id, OPERATION)
        return json_reply(tryon.encode_tryon_job(job, words, read_output(runtime.services, job)))


def _add_submit(
    routes: Blueprint, runtime: Runtime, spec: SpecTree, storefront: str, card: ModelCard
) -> None:
    # Two pictures in one body: more than other paths take.
    bytes_max = max(runtime.settings.body_bytes_max, tryon.body_bytes_max(card))

    @routes.post(card.endpoint)
    @spec.validate(
        json=wire_tryon.tryon_request(card),
        headers=SubmitHeaders,
        resp=Answers(HTTP_200=wire_tryon.TryOnSubmitted, **wire_tryon.TRYON_ERRORS),
        tags=["Try-on"],
        skip_validation=True,
    )
    @needs(Access.SUBMIT, storefront)
    def submit_tryon() -> Response:
        """Dress a person in a garment.

        Answers at once with an id. The price is held, and charged only when the picture is made.
        The person stands upright and alone in a picture of at least 300x400 pixels.
        """
        request = current_request()
        with ExitStack() as keep:
            try:
                with about_the_body():
                    file = keep.enter_context(put_aside(request, bytes_max))
                    read = keep.enter_context(runtime.pictures.turn())
                    body = parse_object(file.read())
                    asked = tryon.decode_tryon(body, card, runtime.fetch_policy)
                    del body
                    job = asked.job(card, tryon.decode_pictures(asked, card, read))
            except BodyTooLarge:
                # Elsewhere less is allowed, and so less waited for.
                finish_reading(request, 2 * bytes_max, time.monotonic() + _LEFTOVER_S)
                raise
            made = accept(runtime, request, job, asked.fingerprint)
            return accepted_reply(tryon.encode_tryon(made, statuses_for(request.agent)), made)
