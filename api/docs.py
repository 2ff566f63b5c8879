"""The documentation: one OpenAPI description per storefront, and Swagger UI without a CDN."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from flask import Blueprint, Response, current_app
from offapi import OpenAPITemplate
from spectree import Response as SpecTreeResponse
from spectree import SecurityScheme, SecuritySchemeData, SpecTree
from spectree.model_adapter.protocol import SchemaMode
from spectree.model_adapter.pydantic_adapter import PydanticModelAdapter
from spectree.models import SecureType, Server
from spectree.plugins.flask_plugin import FlaskPlugin
from spectree.plugins.werkzeug_utils import werkzeug_parse_rule

from api.auth import Access, needs
from api.dialect import Dialect
from api.replies import json_reply

_VERSION = "0.1.0"
_PATH_EXAMPLES = {"model_id": "sdxl"}
# The page carries its own scripts and styles, and may call nothing but this API.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; frame-ancestors 'none'"
)


class Answers(SpecTreeResponse):
    """The answers that a route documents: those and no others."""

    def add_model(self, *_: Any, **__: Any) -> None:
        """SpecTree would add a 422 of its own to every route."""


class _Schemas(PydanticModelAdapter):
    """Works out the schema of a model once, not for each route and document that names it.

    SpecTree copies what it is given. Ten routes have the same errors: without this most of the
    time that an API process takes to start would go into their schemas.
    """

    _known: ClassVar[weakref.WeakKeyDictionary[type[Any], dict[str, dict[str, Any]]]] = (
        weakref.WeakKeyDictionary()
    )

    def json_schema(
        self, model: type[Any], *, ref_template: str, mode: SchemaMode = "validation"
    ) -> dict[str, Any]:
        known = self._known.setdefault(model, {})
        if mode not in known:
            known[mode] = super().json_schema(model, ref_template=ref_template, mode=mode)
        return known[mode]


class _Routes(FlaskPlugin):
    """Describes what stands in a path by the pattern that the route takes there."""

    def parse_path(
        self, route: Any, path_parameter_descriptions: Mapping[str, str] | None
    ) -> tuple[str, list[dict[str, Any]]]:
        path, parameters = super().parse_path(route, path_parameter_descriptions)
        words = werkzeug_parse_rule(str(route))
        converters = {name: converter for converter, _, name in words if converter}
        for parameter in parameters:
            if parameter["schema"] is None:
                taken = current_app.url_map.converters[converters[parameter["name"]]]
                parameter["schema"] = {"type": "string", "pattern": f"^{taken.regex}$"}
            if parameter["name"] in _PATH_EXAMPLES:
                parameter["example"] = _PATH_EXAMPLES[parameter["name"]]
        return path, parameters


def specification(dialect: Dialect, public_url: str) -> SpecTree:
    """An empty specification of a storefront; its routes write themselves into it."""
    return SpecTree(
        "flask",
        backend=_Routes,
        # The library types even its own adapter as none of its adapters.
        model_adapter=cast(Any, _Schemas()),
        mode="strict",
        annotations=False,
        title=dialect.title,
        version=_VERSION,
        path=f"docs/{dialect.id}",
        # The page may call nothing but the host that it came from, whatever name that has.
        servers=[Server(url="/", description="Here"), Server(url=public_url)],
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
