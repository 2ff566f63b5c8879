"""Secrets, message ids and signatures as Standard Webhooks has them (version 1, symmetric).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Callable, Sequence

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
"""The specification asks for 24 to 64."""

_MESSAGE = re.compile(r"msg_([0-9a-f]{32})")


def new_secret(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A signing secret: ``whsec_`` and random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(random_bytes(SECRET_BYTES)).decode("ascii")


def sign(keys: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: one signature for each secret, spaces between them.

    Args:
        keys: the secrets in force, as :func:`new_secret` writes them.
        timestamp: Unix seconds of this try.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{_signature(key, signed)}" for key in keys)


def message_id(delivery_id: uuid.UUID) -> str:
    """The ``webhook-id`` of a delivery, the same in every try: receivers tell doubles by it."""
    return f"msg_{delivery_id.hex}"


def read_message_id(text: str) -> uuid.UUID | None:
    """The delivery behind a ``webhook-id``; None where it is not one of ours."""
    found = _MESSAGE.fullmatch(text)
    return uuid.UUID(found[1]) if found else None


def _signature(key: str, signed: bytes) -> str:
    raw = base64.b64decode(key.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.new(raw, signed, hashlib.sha256).digest()).decode("ascii")
