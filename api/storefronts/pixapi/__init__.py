"""Storefront ``pixapi``: OpenAI-compatible. A POST waits for its pictures, or makes a task."""

from __future__ import annotations

from api.dialect import Dialect
from api.storefronts.pixapi.ids import read_id
from api.storefronts.pixapi.orders import STOREFRONT
from api.storefronts.pixapi.problems import STATUSES, render_error
from api.storefronts.pixapi.routes import blueprint
from api.storefronts.pixapi.translate import encode_task, endpoint
from api.storefronts.pixapi.wire import Problem, Task

DIALECT = Dialect(
    id=STOREFRONT,
    title="PixAPI",
    paths=("/v1/images/", "/v1/async/", "/v1/tasks"),
    blueprint=blueprint,
    render_error=render_error,
    problem=Problem,
    job_shape=Task,
    encode_job=encode_task,
    read_id=read_id,
    endpoint=endpoint,
    batched=True,
    statuses=STATUSES,
)
