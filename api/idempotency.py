"""The ``Idempotency-Key`` header: a key and what request it stands for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from api.request import FarmRequest
from farm.errors import FieldError, InvalidRequest
from farm.types import Idempotency

HEADER = "Idempotency-Key"
_LENGTH_MAX = 255


Fingerprint = Callable[[], Mapping[str, Any]]
"""What makes two bodies the same request, as JSON values; worked out only when asked for."""


def read_idempotency(request: FarmRequest, fingerprint: Fingerprint) -> Idempotency | None:
    """The caller's key with the SHA-256 of path and body, or None where there is no header.

    Two bodies that differ only in spacing, in the order of fields or in a form's boundary are
    the same.

    Raises:
        InvalidRequest: the key is empty, too long, or not printable ASCII.
    """
    key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not 1 <= len(key) <= _LENGTH_MAX or not (key.isascii() and key.isprintable()):
        raise InvalidRequest(
            [FieldError(HEADER, f"must be 1 to {_LENGTH_MAX} printable ASCII characters.")]
        )
    canonical = json.dumps([request.path, fingerprint()], sort_keys=True, separators=(",", ":"))
    return Idempotency(key, hashlib.sha256(canonical.encode("ascii")).digest())
