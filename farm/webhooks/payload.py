"""What a message says: ``{"type", "timestamp", "data"}``, from the job's row as it ended.

It is written anew for each try: the row of an ended job does not change, but for its output
going when its day is over. A storefront whose customers expect other data has a line in
``RENDERERS``; the envelope, the headers and the signature are the same for all.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from farm.storage import UrlSigner
from farm.types import CREDIT_TENTHS, JobState
from farm.views import JobView

Renderer = Callable[[JobView, str | None], dict[str, Any]]
"""The ``data`` of an ended job, given its output's URL. Pure; JSON values only."""


def job_data(job: JobView, output_url: str | None) -> dict[str, Any]:
    """The data of every storefront that has no renderer of its own. Amounts in credits."""
    charged = job.price_tenths if job.state is JobState.SUCCEEDED else 0
    data: dict[str, Any] = {
        "id": str(job.id),
        "status": job.state.value,
        "model": job.sold_model,
        "operation": job.operation,
        "created_at": _time(job.created_at),
        "completed_at": _time(job.finished_at) if job.finished_at else None,
        "credits_charged": charged / CREDIT_TENTHS,
        "output_url": output_url,
        "receipt": {
            "held": job.price_tenths / CREDIT_TENTHS,
            "charged": charged / CREDIT_TENTHS,
            "returned": (job.price_tenths - charged) / CREDIT_TENTHS,
            "price_rule": job.price_rule,
        },
    }
    if job.state is not JobState.SUCCEEDED:
        data["error"] = {"code": job.error_code, "message": job.error_message}
    return data


RENDERERS: Mapping[str, Renderer] = {}
"""By storefront id; :func:`job_data` for those that are not here."""


def job_message(event: str, job: JobView, signer: UrlSigner, public_url: str) -> bytes:
    """The body that tells of a job's end."""
    assert job.finished_at is not None, f"job {job.id} is told of before it has ended"
    render = RENDERERS.get(job.storefront, job_data)
    return _body(event, job.finished_at, render(job, _output_url(job, signer, public_url)))


def ping_message(event: str, sent_at: datetime, endpoint_id: uuid.UUID) -> bytes:
    """The body of a test."""
    return _body(event, sent_at, {"endpoint_id": str(endpoint_id)})


def _body(event: str, happened_at: datetime, data: dict[str, Any]) -> bytes:
    message = {"type": event, "timestamp": _time(happened_at), "data": data}
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _output_url(job: JobView, signer: UrlSigner, public_url: str) -> str | None:
    if job.output_path is None or job.output_expires_at is None:
        return None
    query = signer.sign(job.output_path, job.output_expires_at)
    return f"{public_url.rstrip('/')}/outputs/{job.output_path}?{query}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
