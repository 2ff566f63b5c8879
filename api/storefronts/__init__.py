"""The storefronts this farm speaks for: one line each, in the order of precedence."""

from __future__ import annotations

from api.dialect import Dialect
from api.storefronts.pixapi import DIALECT as PIXAPI
from api.storefronts.pixelapi import DIALECT as PIXELAPI

DIALECTS: tuple[Dialect, ...] = (
    PIXELAPI,
    PIXAPI,
)
