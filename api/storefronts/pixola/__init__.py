"""Storefront ``pixola``: batches of images in styles and shapes. camelCase JSON, asynchronous."""

from __future__ import annotations

from api.dialect import Dialect
from api.storefronts.pixola.ids import read_batch_id
from api.storefronts.pixola.problems import STATUSES, render_error
from api.storefronts.pixola.routes import BASE, blueprint
from api.storefronts.pixola.translate import encode_batch
from api.storefronts.pixola.wire import STOREFRONT, BatchStatus, Problem

DIALECT = Dialect(
    id=STOREFRONT,
    title="Pixola",
    paths=(f"{BASE}/",),
    blueprint=blueprint,
    render_error=render_error,
    problem=Problem,
    job_shape=BatchStatus,
    encode_job=encode_batch,
    read_id=read_batch_id,
    endpoint=lambda _card: f"{BASE}/generate",
    batched=True,
    openapi="3.0",
    openapi_path=f"{BASE}/openapi.json",
    statuses=STATUSES,
)
