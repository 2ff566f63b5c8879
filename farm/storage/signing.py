"""URLs that expire: an HMAC over the path and its last second, kept in the query."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import datetime

from itsdangerous import Signer


class UrlSigner:
    """Signs and verifies output paths with one secret.

    The expiry is the output's own, not counted from the signing: whoever asks again gets the
    same URL, so that caches and clients may compare it.
    """

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._signer = Signer(secret, salt="farm.outputs", digest_method=hashlib.sha256)
        self._clock = clock

    def sign(self, public_path: str, expires_at: datetime) -> str:
        """The query string for a path: ``exp=<unix seconds>&sig=<signature>``."""
        exp = str(int(expires_at.timestamp()))
        return f"exp={exp}&sig={self._signature(public_path, exp)}"

    def verify(self, public_path: str, exp: str, sig: str) -> bool:
        """True when the signature is ours, for this path and expiry, and not late."""
        if not (exp.isascii() and exp.isdecimal() and len(exp) <= 12 and sig.isascii()):
            return False
        if int(exp) <= self._clock():
            return False
        return self._signer.verify_signature(f"{public_path}?{exp}", sig)

    def _signature(self, public_path: str, exp: str) -> str:
        return self._signer.get_signature(f"{public_path}?{exp}").decode("ascii")
