"""``GET /v1/models``: the catalogue as an OpenAI-style list. Shared by every storefront."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field
from spectree import Response as Answers
from spectree import SpecTree

from api.auth import Access, needs
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from farm.catalog import Catalog, ModelCard, ParamSpec, Price
from farm.errors import NotFound


class Model(BaseModel):
    """One model or operation, and what it costs here."""

    id: str
    object: str
    created: int = Field(description="Unix seconds.")
    owned_by: str
    type: str
    title: str
    operation: str
    credits: float
    endpoint: str
    seconds_typical: list[float]
    limits: dict[str, Any]
    served_by: str
    aliases: list[str]
    license: str
    non_commercial: bool


class ModelList(BaseModel):
    """Every model and operation."""

    object: str
    data: list[Model]


def blueprint(runtime: Runtime, specs: Sequence[SpecTree], public_storefront: str) -> Blueprint:
    """The two paths, documented in every storefront's specification.

    Args:
        public_storefront: whose prices are shown to callers without a key.
    """
    routes = Blueprint("models", __name__)
    catalog, weights = runtime.services.catalog, runtime.settings.weights
    listed = {name: encode_models(catalog, name, weights) for name in catalog.storefronts}

    def list_for_caller() -> dict[str, Any]:
        principal = current_request().principal
        return listed[principal.storefront if principal else public_storefront]

    @needs(Access.PUBLIC)
    def list_models() -> Response:
        """Every model and operation with its price; with a key, at that key's prices."""
        return json_reply(list_for_caller())

    @needs(Access.PUBLIC)
    def get_model(model_id: str) -> Response:
        """One model or operation, by id or alias."""
        found = find_model(list_for_caller(), model_id)
        if found is None:
            raise NotFound("No such model. GET /v1/models lists those there are.")
        return json_reply(found)

    for spec in specs:
        many = Answers(HTTP_200=ModelList)
        one = Answers(HTTP_200=Model, HTTP_404=None)
        list_models = spec.validate(resp=many, tags=["Models"], skip_validation=True)(list_models)
        get_model = spec.validate(resp=one, tags=["Models"], skip_validation=True)(get_model)
    routes.add_url_rule("/v1/models", view_func=list_models)
    routes.add_url_rule("/v1/models/<path:model_id>", view_func=get_model)
    return routes


def encode_models(catalog: Catalog, storefront: str, weights: str) -> dict[str, Any]:
    """Every model and operation that a storefront sells, with its prices there.

    Args:
        weights: the setting that says where workers take weights from; ``served_by`` tells.
    """
    prices = catalog.storefronts[storefront].prices
    cards = catalog.offered(storefront)
    return {"object": "list", "data": [_model(card, prices[card.id], weights) for card in cards]}


def find_model(listed: dict[str, Any], name: str) -> dict[str, Any] | None:
    """One entry of the list, by id or alias."""
    models: list[dict[str, Any]] = listed["data"]
    return next((m for m in models if name == m["id"] or name in m["aliases"]), None)


def _model(card: ModelCard, price: Price, weights: str) -> dict[str, Any]:
    return {
        "id": card.id,
        "object": "model",
        "created": int(datetime.combine(card.created, time(), UTC).timestamp()),
        "owned_by": card.owned_by,
        "type": card.type,
        "title": card.title,
        "operation": card.operation,
        **_price(price),
        "endpoint": card.endpoint,
        "seconds_typical": list(card.typical_s),
        "limits": {name: _limit(spec) for name, spec in card.params.items() if not spec.unused},
        "served_by": f"{card.id}-tiny" if weights == "tiny" else card.id,
        "aliases": list(card.aliases),
        "license": card.license,
        "non_commercial": card.non_commercial,
    }


def _price(price: Price) -> dict[str, Any]:
    """``credits`` is the price, or the lowest where it depends; then the rule follows it."""
    if price.credits is not None:
        return {"credits": float(price.credits)}
    if price.by_duration:
        tiers = [{"up_to_s": t.up_to_s, "credits": float(t.credits)} for t in price.by_duration]
        return {"credits": tiers[0]["credits"], "credits_by_duration": tiers}
    book = {name: float(credits) for name, credits in price.by_resolution.items()}
    return {"credits": min(book.values()), "credits_by_resolution": book}


def _limit(spec: ParamSpec) -> dict[str, Any]:
    whole = spec.kind != "number"
    bounds = {"min": int(spec.min), "max": int(spec.max)} if whole else _floats(spec)
    if spec.kind == "text":
        bounds = {"min_length": bounds["min"], "max_length": bounds["max"]}
    if spec.required:
        return bounds | {"required": True}
    return bounds if spec.default is None else bounds | {"default": spec.default}


def _floats(spec: ParamSpec) -> dict[str, Any]:
    return {"min": spec.min, "max": spec.max}
