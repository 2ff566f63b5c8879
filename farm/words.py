"""Values as the farm writes them for its customers: amounts, times, links, receipts. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from farm.storage import UrlSigner
from farm.types import CREDIT_TENTHS, JobState
from farm.views import JobView


def credits_of(tenths: int) -> float:
    """Credits, with one decimal at most."""
    return tenths / CREDIT_TENTHS


def plain_credits(tenths: int) -> int | float:
    """Credits as a whole number where they are one: 4, and 4.5."""
    whole, rest = divmod(tenths, CREDIT_TENTHS)
    return credits_of(tenths) if rest else whole


def iso_time(moment: datetime) -> str:
    """A time in UTC to the second, as RFC 3339 has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_time(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())


def output_url(job: JobView, signer: UrlSigner, public_url: str) -> str | None:
    """Where a job's output may be fetched; None where there is none, or none any more."""
    if job.state is not JobState.SUCCEEDED or not job.output_path or not job.output_expires_at:
        return None
    query = signer.sign(job.output_path, job.output_expires_at)
    return f"{public_url}/outputs/{job.output_path}?{query}"


def receipt(job: JobView) -> dict[str, Any]:
    """What was held, charged and given back, and the rule that made the price."""
    charged = job.price_tenths if job.state is JobState.SUCCEEDED else 0
    returned = job.price_tenths if job.state.is_terminal and not charged else 0
    return {
        "held": credits_of(job.price_tenths),
        "charged": credits_of(charged),
        "returned": credits_of(returned),
        "price_rule": job.price_rule,
    }
