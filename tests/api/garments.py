"""The two pictures of a try-on, as its clients send them."""

from __future__ import annotations

import base64
from typing import Any

from tests.api.pictures import picture

TRYON = "/v1/virtual-tryon"


def encoded(data: bytes) -> str:
    """A file as base64 text."""
    return base64.b64encode(data).decode("ascii")


def tryon_body(**changes: Any) -> dict[str, Any]:
    """A body that is taken; a change to None leaves the field out."""
    body = {
        "person_image": encoded(picture("JPEG", width=120, height=160)),
        "garment_image": encoded(picture("WEBP", width=90, height=80)),
        "category": "upperbody",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}
