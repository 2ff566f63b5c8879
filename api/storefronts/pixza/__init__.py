"""Storefront ``pixza``: images, video and 3D through one endpoint. Images are waited for."""

from __future__ import annotations

from api.dialect import Dialect
from api.storefronts.pixza.ids import read_id
from api.storefronts.pixza.routes import STOREFRONT, blueprint
from api.storefronts.pixza.translate import STATUSES, encode_job, endpoint, render_error
from api.storefronts.pixza.wire import Generation, Problem

DIALECT = Dialect(
    id=STOREFRONT,
    title="Pixza",
    paths=("/pixza/",),
    blueprint=blueprint,
    render_error=render_error,
    problem=Problem,
    job_shape=Generation,
    encode_job=encode_job,
    read_id=read_id,
    endpoint=endpoint,
    statuses=STATUSES,
)
