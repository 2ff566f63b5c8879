"""Storefront ``pixelapi``: REST, JSON, asynchronous. A POST answers with an id; poll it."""

from __future__ import annotations

from api.dialect import Dialect
from api.storefronts.pixelapi.ids import read_id
from api.storefronts.pixelapi.routes import STOREFRONT, blueprint
from api.storefronts.pixelapi.translate import encode_job_for, render_error
from api.storefronts.pixelapi.tryon_errors import STATUSES
from api.storefronts.pixelapi.wire import Generation, Problem

DIALECT = Dialect(
    id=STOREFRONT,
    title="PixelAPI",
    paths=(
        "/v1/image/",
        "/v1/audio/",
        "/v1/video/",
        "/v1/virtual-tryon",
        "/v1/account/balance",
        "/v1/account/usage",
        "/outputs/",
    ),
    blueprint=blueprint,
    render_error=render_error,
    problem=Problem,
    job_shape=Generation,
    encode_job=encode_job_for,
    read_id=read_id,
    cancel_path="/v1/image/<generation:generation_id>",
    statuses=STATUSES,
)
