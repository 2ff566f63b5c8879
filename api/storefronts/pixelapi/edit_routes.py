"""The edit endpoints: one for each operation that the catalogue has a card for."""

from __future__ import annotations

from flask import Blueprint, Response
from spectree import SpecTree

from api.accept import accept, accepted_reply
from api.auth import Access, needs
from api.docs import Answers
from api.param_shapes import SubmitHeaders
from api.request import current_request
from api.runtime import Runtime
from api.storefronts.pixelapi import wire, wire_edits
from api.storefronts.pixelapi.edits import decode_edit
from api.storefronts.pixelapi.ids import PREFIXES
from api.storefronts.pixelapi.translate import encode_submission, statuses_for
from api.uploads import open_inputs, read_fields
from farm.cards import ModelCard


def add_edits(routes: Blueprint, runtime: Runtime, spec: SpecTree, storefront: str) -> None:
    """Add ``POST /v1/image/<operation>`` for every edit that the storefront sells."""
    defaults = runtime.services.catalog.storefronts[storefront].default_model
    for card in runtime.services.offers.sold(storefront):
        if card.operation in PREFIXES and defaults.get(card.operation) == card.id:
            _add_edit(routes, runtime, spec, storefront, card)


def _add_edit(
    routes: Blueprint, runtime: Runtime, spec: SpecTree, storefront: str, card: ModelCard
) -> None:
    bytes_max = runtime.settings.body_bytes_max

    def edit() -> Response:
        request = current_request()
        with read_fields(request, bytes_max, card) as fields:
            asked = decode_edit(fields, card, runtime.fetch_policy)
            with open_inputs(runtime.pictures, card, asked.files, asked.urls) as inputs:
                made = accept(runtime, request, asked.job(inputs), fields.fingerprint)
                return accepted_reply(encode_submission(made, statuses_for(request.agent)), made)

    summary, result = wire_edits.SUMMARIES[card.operation], wire_edits.RESULTS[card.operation]
    edit.__doc__ = f"{summary}\n\n{result}\n\n{wire_edits.BOTH_WAYS}"
    documented = spec.validate(
        json=wire_edits.edit_json(card),
        form=wire_edits.edit_form(card),
        headers=SubmitHeaders,
        resp=Answers(HTTP_200=wire_edits.EditSubmitted, **wire.SUBMIT_ERRORS),
        tags=["Edits"],
        skip_validation=True,
    )(needs(Access.SUBMIT, storefront)(edit))
    name = card.operation.replace("-", "_")
    routes.add_url_rule(card.endpoint, name, documented, methods=["POST"])
