"""Storefront ``pixelapi``: REST, JSON, asynchronous. A POST answers with an id; poll it."""

from __future__ import annotations

from api.dialect import Dialect
from api.storefronts.pixelapi.routes import STOREFRONT, blueprint
from api.storefronts.pixelapi.translate import render_error
from api.storefronts.pixelapi.wire import Problem

DIALECT = Dialect(
    id=STOREFRONT,
    title="PixelAPI",
    paths=("/v1/", "/outputs/"),
    blueprint=blueprint,
    render_error=render_error,
    problem=Problem,
)
