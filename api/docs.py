"""The documentation: one OpenAPI description per storefront, and Swagger UI without a CDN."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response
from offapi import OpenAPITemplate
from spectree import SecurityScheme, SecuritySchemeData, SpecTree
from spectree.models import SecureType, Server

from api.auth import Access, needs
from api.dialect import Dialect
from api.replies import json_reply

_VERSION = "0.1.0"
# The page carries its own scripts and styles, and may call nothing but this API.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; frame-ancestors 'none'"
)


def specification(dialect: Dialect, public_url: str) -> SpecTree:
    """An empty specification of a storefront; its routes write themselves into it."""
    return SpecTree(
        "flask",
        mode="strict",
        annotations=False,
        title=dialect.title,
        version=_VERSION,
        path=f"docs/{dialect.id}",
        servers=[Server(url=public_url)],
        security_schemes=[
            SecurityScheme(
                name="Bearer", data=SecuritySchemeData(type=SecureType.HTTP, scheme="bearer")
            )
        ],
        security={"Bearer": []},
        naming_strategy=lambda model: model.__name__,
        nested_naming_strategy=lambda _parent, child: child,
    )


def blueprint(specs: Mapping[str, SpecTree]) -> Blueprint:
    """``/docs`` and, for each storefront, ``/docs/<id>`` with its ``openapi.json``.

    Args:
        specs: by storefront id; the first one is what ``/docs`` itself shows.
    """
    routes = Blueprint("docs", __name__)
    first = next(iter(specs))

    @routes.get("/docs")
    @needs(Access.OPEN)
    def front_page() -> Response:
        return _page(first)

    @routes.get("/docs/<any({}):storefront>".format(",".join(specs)))
    @needs(Access.OPEN)
    def page(storefront: str) -> Response:
        return _page(storefront)

    @routes.get("/docs/<any({}):storefront>/openapi.json".format(",".join(specs)))
    @needs(Access.OPEN)
    def openapi(storefront: str) -> Response:
        return json_reply(specs[storefront].spec)

    return routes


def _page(storefront: str) -> Response:
    html = OpenAPITemplate.SWAGGER.value.format(spec_url=f"/docs/{storefront}/openapi.json")
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _PAGE_POLICY
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
