"""``GET /v1/models``: the catalogue as an OpenAI-style list. Shared by every storefront."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, Field
from spectree import SpecTree

from api.auth import Access, needs
from api.dialect import Dialect
from api.docs import Answers
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from farm.cards import InputSpec, ModelCard, ParamSpec
from farm.catalog import Price, Storefront
from farm.errors import NotFound
from farm.offers import Offers

FORMATS = ("jpeg", "png", "webp")


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
    seconds_typical: float = Field(
        description="The median of the last 50 here; before the first, the middle of the range."
    )
    seconds_range: list[float] = Field(description="Fast and slow, on a data-centre GPU.")
    limits: dict[str, Any] = Field(description="What each field may be, pictures included.")
    needs_one_of: list[str] | None = Field(
        default=None, description="Fields of which a request gives at least one."
    )
    served_by: str = Field(description="What truly makes the output.")
    aliases: list[str]
    license: str
    non_commercial: bool


class ModelList(BaseModel):
    """Every model and operation."""

    object: str
    data: list[Model]


def blueprint(
    runtime: Runtime, dialects: Sequence[Dialect], specs: Mapping[str, SpecTree]
) -> Blueprint:
    """The two paths, documented in every storefront's specification.

    Callers without a key are shown the first storefront's prices.
    """
    routes = Blueprint("models", __name__)
    services, weights = runtime.services, runtime.settings.weights
    by_id = {dialect.id: dialect for dialect in dialects}

    def list_for_caller() -> dict[str, Any]:
        principal = current_request().principal
        front = current_request().front
        dialect = by_id[principal.storefront if principal else front or dialects[0].id]
        shop = services.catalog.storefronts[dialect.id]
        return encode_models(shop, services.offers, dialect, weights, runtime.typical.by_model())

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

    tags = ["Models"]
    security: list[dict[str, list[str]]] = [{"Bearer": []}, {}]  # with a key or without
    for dialect in dialects:
        spec, problem = specs[dialect.id], dialect.problem
        errors: dict[str, Any] = {f"HTTP_{status}": problem for status in (401, 403, 429, 503)}
        many = Answers(HTTP_200=ModelList, **errors)
        one = Answers(HTTP_200=Model, HTTP_404=problem, **errors)
        list_models = spec.validate(resp=many, tags=tags, security=security, skip_validation=True)(
            list_models
        )
        get_model = spec.validate(resp=one, tags=tags, security=security, skip_validation=True)(
            get_model
        )
    routes.add_url_rule("/v1/models", view_func=list_models)
    routes.add_url_rule("/v1/models/<path:model_id>", view_func=get_model)
    return routes


def encode_models(
    shop: Storefront, offers: Offers, dialect: Dialect, weights: str, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Every model and operation that a storefront sells, with its prices there.

    Args:
        shop: the storefront's table, ``dialect`` its words.
        weights: the setting that says where workers take weights from; ``served_by`` tells.
        seconds: what the models took here, by id, as far as that is known.
    """
    models = []
    for card in offers.sold(dialect.id):
        done = [operation for operation in card.operations if operation in shop.default_model]
        model = _model(card, done, shop.prices[card.id], seconds.get(card.id))
        model |= {
            "endpoint": dialect.endpoint(card),
            "served_by": offers.served_by(dialect.id, card, weights),
        }
        models.append(model)
    return {"object": "list", "data": models}


def find_model(listed: dict[str, Any], name: str) -> dict[str, Any] | None:
    """One entry of the list, by id or alias."""
    models: list[dict[str, Any]] = listed["data"]
    return next((m for m in models if name == m["id"] or name in m["aliases"]), None)


def _model(
    card: ModelCard, operations: Sequence[str], price: Price, measured_s: float | None
) -> dict[str, Any]:
    """The card as the list has it, with the limits of these of its operations."""
    limits: dict[str, Any] = {}
    # What several take is shown as the first one has it.
    for operation in reversed(operations):
        limits |= {name: _picture(spec) for name, spec in card.inputs_of(operation).items()}
        specs = card.params_of(operation)
        limits |= {n: _limit(s, operation) for n, s in specs.items() if not s.unused}
    model = {
        "id": card.id,
        "object": "model",
        "created": int(datetime.combine(card.created, time(), UTC).timestamp()),
        "owned_by": card.owned_by,
        "type": card.type,
        "title": card.title,
        "operation": card.operation,
        **_price(price),
        "seconds_typical": round(sum(card.typical_s) / 2 if measured_s is None else measured_s, 3),
        "seconds_range": list(card.typical_s),
        "limits": limits,
        "aliases": list(card.aliases),
        "license": card.license,
        "non_commercial": card.non_commercial,
    }
    return model | {"needs_one_of": list(card.needs_one_of)} if card.needs_one_of else model


def _price(price: Price) -> dict[str, Any]:
    """``credits`` is the price, or the lowest where it depends; then the rule follows it."""
    if price.credits is not None:
        return {"credits": float(price.credits)}
    if price.by_duration:
        tiers = [{"up_to_s": t.up_to_s, "credits": float(t.credits)} for t in price.by_duration]
        return {"credits": tiers[0]["credits"], "credits_by_duration": tiers}
    book = {name: float(credits) for name, credits in price.by_resolution.items()}
    return {"credits": min(book.values()), "credits_by_resolution": book}


def _picture(spec: InputSpec) -> dict[str, Any]:
    """A picture's limits; the documentation says how it is sent."""
    limits = {
        "kind": spec.kind,
        "formats": list(FORMATS),
        "bytes_max": spec.bytes_max,
        "side_max": spec.side_max,
    }
    return limits | {"required": True} if spec.required else limits


def _limit(spec: ParamSpec, operation: str) -> dict[str, Any]:
    bounds: dict[str, Any]
    if spec.kind == "choice":
        bounds = {"choices": list(spec.choices)}
    elif spec.kind == "text":
        bounds = {"min_length": int(spec.min), "max_length": int(spec.max)}
    elif spec.kind == "integer":
        bounds = {"min": int(spec.min), "max": int(spec.max)}
    else:
        bounds = {"min": spec.min, "max": spec.max}
    if spec.required:
        return bounds | {"required": True}
    default = spec.default_for(operation)
    return bounds if default is None else bounds | {"default": default}
