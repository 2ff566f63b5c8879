"""The documentation: one OpenAPI description per storefront, and Swagger UI without a CDN."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping, Sequence
from html import escape
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
from api.hosts import OWN_BASE
from api.openapi30 import downgraded
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from farm.errors import NotFound

_VERSION = "0.1.0"
_PATH_EXAMPLES = {"model_id": "sdxl"}
# The page carries its own scripts and styles, and may call nothing but this API.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; frame-ancestors 'none'"
)
_INDEX = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>APIs</title></head>
<body>
<h1>APIs of this farm</h1>
<ul>
{rows}
</ul>
</body>
</html>
"""


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


class _Specification(SpecTree):
    """Copies the schema of a model once, not again for every route that names it."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **settings)
        self._copied: dict[str, tuple[type[Any], SchemaMode]] = {}

    def _add_model(self, model: type[Any], mode: SchemaMode = "validation") -> str:
        name: str = self.naming_strategy(model)
        if self._copied.get(name) != (model, mode):
            super()._add_model(model, mode)
            self._copied[name] = (model, mode)
        return name


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
    return _Specification(
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


def blueprint(
    runtime: Runtime,
    dialects: Sequence[Dialect],
    specs: Mapping[str, SpecTree],
    hosts: Mapping[str, str],
) -> Blueprint:
    """``/docs``, which lists the storefronts, and for each ``/docs/<id>`` with its
    ``openapi.json``. On a storefront's own host there is nothing but its own.

    Args:
        specs: by storefront id, complete when the first request comes.
        hosts: storefront ids by host name.
    """
    routes = Blueprint("docs", __name__)
    by_id = {dialect.id: dialect for dialect in dialects}
    bases = {id_: runtime.services.catalog.storefronts[id_].base_path for id_ in by_id}
    one_of = f"<any({','.join(by_id)}):storefront>"

    @functools.cache
    def document(storefront: str, front: str) -> Mapping[str, Any]:
        base = bases[storefront] if front else ""
        return written(by_id[storefront], specs[storefront].spec, base)

    def checked_front(storefront: str) -> str:
        """The storefront whose host was asked, which has no other's documentation."""
        request = current_request()
        if request.front not in ("", storefront):
            raise NotFound(f"There is nothing at {request.asked_path[:200]}. See /docs.")
        return request.front

    @routes.get("/docs")
    @needs(Access.OPEN)
    def front_page() -> Response:
        front = current_request().front
        return _page(by_id[front]) if front else _html(_index(dialects, bases, hosts))

    @routes.get(f"/docs/{one_of}")
    @needs(Access.OPEN)
    def page(storefront: str) -> Response:
        checked_front(storefront)
        return _page(by_id[storefront])

    @needs(Access.OPEN)
    def openapi(storefront: str) -> Response:
        return json_reply(document(storefront, checked_front(storefront)))

    routes.add_url_rule(f"/docs/{one_of}/openapi.json", view_func=openapi)
    for dialect in dialects:
        if dialect.openapi_path:
            name, given = f"{dialect.id}_openapi", {"storefront": dialect.id}
            routes.add_url_rule(dialect.openapi_path, name, openapi, defaults=given)
    return routes


def written(dialect: Dialect, spec: Mapping[str, Any], base: str) -> Mapping[str, Any]:
    """A storefront's document in the version that its clients read. Pure.

    Args:
        base: on its own host, where its paths begin elsewhere; empty on every other host.
    """
    if base:
        own = {
            OWN_BASE + path.removeprefix(base) if path.startswith(f"{base}/") else path: item
            for path, item in spec["paths"].items()
        }
        # At the farm's public address these paths are elsewhere.
        here = [server for server in spec["servers"] if server["url"] == "/"]
        spec = {**spec, "paths": own, "servers": here}
    return downgraded(spec) if dialect.openapi == "3.0" else spec


def _index(dialects: Sequence[Dialect], bases: Mapping[str, str], hosts: Mapping[str, str]) -> str:
    """The front page: each storefront with where it is and where it is described."""
    rows = []
    for dialect in dialects:
        own = [f"{host}{OWN_BASE}" for host, each in hosts.items() if each == dialect.id]
        places = ", ".join(f"<code>{escape(place)}</code>" for place in (bases[dialect.id], *own))
        page = f"/docs/{dialect.id}"
        rows.append(
            f'<li><a href="{page}">{escape(dialect.title)}</a> at {places} '
            f'(<a href="{page}/openapi.json">OpenAPI {dialect.openapi}</a>)</li>'
        )
    return _INDEX.format(rows="\n".join(rows))


def _page(dialect: Dialect) -> Response:
    url = f"/docs/{dialect.id}/openapi.json"
    return _html(OpenAPITemplate.SWAGGER.value.format(spec_url=url))


def _html(html: str) -> Response:
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _PAGE_POLICY
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response
