"""What a message says, from the job's row as it ended.

It is written anew for each try: the row of an ended job does not change, but for its output
going when its day is over. The body is ``{"type", "timestamp", "data"}`` with the same data for
every storefront, but for those with a line in ``BODIES``, whose customers expect another; the
headers and the signature are the same for all.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from farm.storage import UrlSigner
from farm.types import CREDIT_TENTHS, JobState
from farm.views import JobView
from farm.webhooks import pixza
from farm.words import iso_time, output_url, receipt

Body = Callable[[JobView, str | None], dict[str, Any]]
"""What is told of an ended job, given its output's URL. Pure; JSON values only."""


def _bare_id(job: JobView) -> dict[str, Any]:
    return {"id": str(job.id)}


def _task_id(job: JobView) -> dict[str, Any]:
    return {"id": f"task_{job.batch_id.hex}", "index": job.batch_place}


def _batch_and_image_id(job: JobView) -> dict[str, Any]:
    return {"id": f"batch_{job.batch_id}", "index": job.batch_place, "image_id": f"img_{job.id}"}


IDS: Mapping[str, Callable[[JobView], dict[str, Any]]] = {
    "pixapi": _task_id,
    "pixola": _batch_and_image_id,
}
"""By storefront id: what its customers know a job by, where that is not its own id. Where
several jobs make one thing, ``index`` says which it is, from 0."""


def job_data(job: JobView, output_url: str | None) -> dict[str, Any]:
    """The ``data`` of every storefront that has no body of its own. Amounts in credits."""
    known_by = IDS.get(job.storefront, _bare_id)
    charged = job.price_tenths if job.state is JobState.SUCCEEDED else 0
    data: dict[str, Any] = {
        **known_by(job),
        "status": job.state.value,
        "model": job.sold_model,
        "operation": job.operation,
        "created_at": iso_time(job.created_at),
        "completed_at": iso_time(job.finished_at) if job.finished_at else None,
        "credits_charged": charged / CREDIT_TENTHS,
        "output_url": output_url,
        "receipt": receipt(job),
    }
    if job.state is not JobState.SUCCEEDED:
        data["error"] = {"code": job.error_code, "message": job.error_message}
    return data


BODIES: Mapping[str, Body] = {"pixza": pixza.generation}
"""By storefront id: the whole body of those that do without type and timestamp."""


def job_message(event: str, job: JobView, signer: UrlSigner, public_url: str) -> bytes:
    """The body that tells of a job's end."""
    assert job.finished_at is not None, f"job {job.id} is told of before it has ended"
    url = output_url(job, signer, public_url.rstrip("/"))
    own = BODIES.get(job.storefront)
    if own is not None:
        return _encoded(own(job, url))
    return _enveloped(event, job.finished_at, job_data(job, url))


def ping_message(event: str, sent_at: datetime, endpoint_id: uuid.UUID) -> bytes:
    """The body of a test."""
    return _enveloped(event, sent_at, {"endpoint_id": str(endpoint_id)})


def _enveloped(event: str, happened_at: datetime, data: dict[str, Any]) -> bytes:
    return _encoded({"type": event, "timestamp": iso_time(happened_at), "data": data})


def _encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("utf-8")
