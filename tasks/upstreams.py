"""What the engine of a hosted model is handed: where the upstream is, its key, safe fetching."""

from __future__ import annotations

from farm.cards import InputSpec, ModelCard
from farm.config import Settings
from farm.intake.fetch import Fetcher, FetchPolicy
from farm.intake.pictures import read_picture
from farm.intake.urls import policy_of
from farm.types import Picture
from farm.upstreams import Upstream, served_by
from models import base

SPARE_S = 15.0
"""A run ends so long before its model's time limit: its result is still to be stored."""
_FIELD = "result"
_RESULT = InputSpec(bytes_max=40 * 1024 * 1024)
"""What a result may be: a side has as many pixels as a customer's picture may have."""


def upstream_setup(
    upstream: Upstream, card: ModelCard, settings: Settings, gate: base.Gate
) -> base.UpstreamSetup:
    """How the card's model is run by an upstream. Reads the key.

    Raises:
        SetupError: there is no key in this process's environment.
    """
    # Results may lie on the upstream's own host, wherever that is; elsewhere customers' rules hold.
    trusts = policy_of(settings).allow | {upstream.host}

    def fetch(url: str, bytes_max: int, timeout_s: float) -> bytes:
        return Fetcher(FetchPolicy(trusts, timeout_s, bytes_max)).fetch(url, _FIELD)

    def read(data: bytes) -> Picture:
        return read_picture(data, _FIELD, _RESULT)

    return base.UpstreamSetup(
        name=upstream.shown,
        base_url=upstream.base_url,
        key=upstream.key(),
        model=upstream.model,
        served_by=served_by(card.id, upstream.told),
        timeout_s=upstream.timeout_s,
        run_s=max(SPARE_S, card.soft_limit_s - SPARE_S),
        fetch=fetch,
        read_picture=read,
        gate=gate,
    )
