"""The storefronts this farm speaks for: one line each, in the order of precedence."""

from __future__ import annotations

from api.dialect import Dialect
from api.storefronts.pixapi import DIALECT as PIXAPI
from api.storefronts.pixelapi import DIALECT as PIXELAPI
from api.storefronts.pixola import DIALECT as PIXOLA
from api.storefronts.pixza import DIALECT as PIXZA

DIALECTS: tuple[Dialect, ...] = (
    PIXELAPI,
    PIXAPI,
    PIXOLA,
    PIXZA,
)
