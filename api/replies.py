"""JSON answers, encoded once and straight into the response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response

encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def json_reply(body: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON response. The body's values are the dialect's own, so all of them encode."""
    return Response(encode_json(body), status, content_type="application/json")
