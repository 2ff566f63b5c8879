"""What can be chosen: models, styles with their previews, shapes. And the document itself."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Blueprint, Response
from spectree import SpecTree

from api.auth import Access, needs
from api.docs import Answers
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from api.storefronts.pixola import translate, wire
from api.storefronts.pixola.previews import Previews
from api.storefronts.pixola.wire import STOREFRONT
from farm.errors import NotFound
from farm.gallery import built_in_gallery
from farm.previews import MEDIA_TYPE, preview_key
from farm.styles import built_in_styles

_ANYBODY: list[dict[str, list[str]]] = [{"Bearer": []}, {}]
"""With a key or without."""
_PREVIEW_CACHE = "public, max-age=604800"
"""A week: a preview that is made anew has another URL."""


def add_catalogue(routes: Blueprint, runtime: Runtime, spec: SpecTree, base: str) -> None:
    """Everything that does not change from one customer to the next."""
    public_url = runtime.settings.public_url.rstrip("/")
    previews = Previews(runtime.services.storage, f"{public_url}{base}/styles")
    _add_models(routes, runtime, spec)
    _add_styles(routes, spec, previews)
    _add_preview(routes, runtime)
    _add_shapes(routes, spec)


def _add_models(routes: Blueprint, runtime: Runtime, spec: SpecTree) -> None:
    services, weights = runtime.services, runtime.settings.weights
    offers, gallery = services.offers, built_in_gallery()
    shop, qualities = services.catalog.storefronts[STOREFRONT], built_in_styles().qualities
    cards = list(offers.sold(STOREFRONT, "generate"))
    by_name = {name: card for card in cards for name in (card.id, *card.aliases)}

    def encoded(name: str) -> dict[str, Any]:
        card = by_name[name]
        served_by = offers.served_by(STOREFRONT, card, weights)
        return translate.encode_model(card, shop, gallery, qualities, served_by)

    @routes.get("/models")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Models, **wire.READ_ERRORS),
        tags=["Models"],
        security=_ANYBODY,
        skip_validation=True,
    )
    @needs(Access.PUBLIC, STOREFRONT)
    def list_models() -> Response:
        """Every model with what it costs; no key is needed."""
        return json_reply({"models": [encoded(card.id) for card in cards]})

    @routes.get("/models/<slug>")
    @spec.validate(
        resp=Answers(HTTP_200=wire.ModelPage, **wire.ONE_ERRORS),
        path_parameter_descriptions={"slug": "A model's slug or alias."},
        tags=["Models"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def get_model(slug: str) -> Response:
        """One model, and where to read more about it."""
        if slug not in by_name:
            raise NotFound("No such model. GET /models lists those there are.")
        listed = encoded(slug)
        return json_reply(translate.encode_model_page(by_name[slug], listed, gallery))


def _add_styles(routes: Blueprint, spec: SpecTree, previews: Previews) -> None:
    book = built_in_styles()

    @routes.get("/styles")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Styles, **wire.READ_ERRORS),
        tags=["Styles and shapes"],
        security=_ANYBODY,
        skip_validation=True,
    )
    @needs(Access.PUBLIC, STOREFRONT)
    def list_styles() -> Response:
        """Every style by category; no key is needed."""
        return json_reply(translate.encode_styles(book, previews.urls()))

    @routes.get("/styles/<slug>")
    @spec.validate(
        resp=Answers(HTTP_200=wire.StylePage, **wire.ONE_ERRORS),
        path_parameter_descriptions={"slug": "A style's slug or alias."},
        tags=["Styles and shapes"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def get_style(slug: str) -> Response:
        """One style with the template that is really applied."""
        style = book.look_up_style(slug)
        if style is None:
            raise NotFound("No such style. GET /styles lists those there are.")
        return json_reply(translate.encode_style(style, previews.urls()))


def _add_preview(routes: Blueprint, runtime: Runtime) -> None:
    storage, book = runtime.services.storage, built_in_styles()

    @routes.get("/styles/<slug>/preview.webp")
    @needs(Access.FILE)
    def get_preview(slug: str) -> Response:
        if slug not in book.styles:
            raise NotFound("No such style. GET /styles lists those there are.")
        with storage.open(preview_key(slug)) as file:
            data = file.read()
        response = Response(data, content_type=MEDIA_TYPE)
        response.headers["Cache-Control"] = _PREVIEW_CACHE
        response.set_etag(hashlib.sha256(data).hexdigest()[:32])
        response.make_conditional(current_request().environ)
        return response


def _add_shapes(routes: Blueprint, spec: SpecTree) -> None:
    shapes = built_in_styles().shapes

    @routes.get("/shapes")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Shapes, **wire.READ_ERRORS),
        tags=["Styles and shapes"],
        security=_ANYBODY,
        skip_validation=True,
    )
    @needs(Access.PUBLIC, STOREFRONT)
    def list_shapes() -> Response:
        """Every shape; no key is needed."""
        return json_reply({"shapes": [translate.encode_shape(s) for s in shapes.values()]})

    @routes.get("/shapes/<slug>")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Shape, **wire.ONE_ERRORS),
        path_parameter_descriptions={"slug": "A shape's slug."},
        tags=["Styles and shapes"],
        skip_validation=True,
    )
    @needs(Access.READ, STOREFRONT)
    def get_shape(slug: str) -> Response:
        """One shape."""
        if slug not in shapes:
            raise NotFound("No such shape. GET /shapes lists those there are.")
        return json_reply(translate.encode_shape(shapes[slug]))
