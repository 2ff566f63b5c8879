"""API keys: made, shown once, stored hashed, found again.

A key is ``<prefix><32 random base-62 characters><6 characters of checksum>``. The checksum
(CRC-32, as in GitHub's token format) lets a typing slip be refused without a look into the
database. What is stored is the SHA-256 of the whole key: it has 190 bits of randomness, so
a slow password hash would add nothing but load.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from farm.catalog import Catalog
from farm.db import Database
from farm.errors import Forbidden, NotFound, Unauthenticated
from farm.types import AccountStatus, Principal

_ALPHABET = string.digits + string.ascii_letters
_RANDOM_LENGTH = 32
_CHECK_LENGTH = 6
_CACHE_MAX = 10_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key's row; the key itself is not in it."""

    id: uuid.UUID
    account_id: uuid.UUID
    prefix_shown: str
    label: str
    created_at: datetime
    revoked_at: datetime | None


def generate_key(prefix: str) -> str:
    """A new random key with its checksum."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return prefix + body + _checksum(prefix + body)


def is_well_formed(key: str, prefix: str) -> bool:
    """True when the prefix, the length and the checksum fit: worth a look into the database."""
    if not key.startswith(prefix) or not key.isascii():
        return False
    if len(key) != len(prefix) + _RANDOM_LENGTH + _CHECK_LENGTH:
        return False
    return key[-_CHECK_LENGTH:] == _checksum(key[:-_CHECK_LENGTH])


def create_key(
    connection: Connection, catalog: Catalog, account_id: uuid.UUID, label: str = ""
) -> tuple[ApiKey, str]:
    """Make a key for an account; returns its row and its text, which is never shown again.

    Raises:
        NotFound: no such account.
    """
    storefront = connection.execute(
        text("SELECT storefront FROM accounts WHERE id = :id"), {"id": account_id}
    ).scalar()
    if storefront is None:
        raise NotFound("No such account.")
    prefix = catalog.storefronts[storefront].key_prefix
    key = generate_key(prefix)
    row = connection.execute(
        text(
            "INSERT INTO api_keys (id, account_id, sha256, shown, label) "
            f"VALUES (:id, :account, :sha256, :shown, :label) RETURNING {_COLUMNS}"
        ),
        {
            "id": uuid.uuid4(),
            "account": account_id,
            "sha256": _digest(key),
            "shown": f"{key[: len(prefix) + 4]}…",
            "label": label,
        },
    ).one()
    return _api_key(row), key


def list_keys(connection: Connection, account_id: uuid.UUID) -> list[ApiKey]:
    """Every key of an account, revoked ones included, oldest first."""
    rows = connection.execute(
        text(f"SELECT {_COLUMNS} FROM api_keys WHERE account_id = :id ORDER BY created_at"),
        {"id": account_id},
    )
    return [_api_key(row) for row in rows]


def revoke_key(connection: Connection, key_id: uuid.UUID) -> ApiKey:
    """Revoke a key; again is harmless. It submits no more from now, reads from the cache's age.

    Raises:
        NotFound: no such key.
    """
    row = connection.execute(
        text(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) "
            f"WHERE id = :id RETURNING {_COLUMNS}"
        ),
        {"id": key_id},
    ).one_or_none()
    if row is None:
        raise NotFound("No such key. List them with `farm keys list EMAIL`.")
    return _api_key(row)


class KeyRing:
    """Finds the caller behind a key, with a short memory so that polling costs no query.

    Args:
        cache_s: how long an answer is remembered. A submit checks the key again within its
            own transaction, so this bounds only what a revoked key may still read.
    """

    def __init__(
        self,
        db: Database,
        catalog: Catalog,
        cache_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._prefixes = {name: shop.key_prefix for name, shop in catalog.storefronts.items()}
        self._cache_s = cache_s
        self._clock = clock
        self._seen: dict[bytes, tuple[float, Principal]] = {}
        self._lock = threading.Lock()

    def authenticate(self, key: str, storefront: str) -> Principal:
        """Who this key belongs to.

        Raises:
            Unauthenticated: malformed, unknown, revoked, or of another storefront.
            Forbidden: the account is blocked.
            DatabaseUnavailable: it cannot be looked up.
        """
        prefix = self._prefixes[storefront]
        digest = _digest(key)
        now = self._clock()
        remembered = self._seen.get(digest)
        if remembered is not None and remembered[0] > now and key.startswith(prefix):
            principal = remembered[1]
        elif is_well_formed(key, prefix):
            principal = self._look_up(digest)
            self._remember(digest, now, principal)
        else:
            raise Unauthenticated(f"This is not a valid API key. Keys here start with {prefix}.")
        if principal.storefront != storefront:
            raise Unauthenticated("This API key belongs to another service.")
        if principal.status is AccountStatus.BLOCKED:
            raise Forbidden("This account is blocked. Contact support.")
        return principal

    def _look_up(self, digest: bytes) -> Principal:
        row = self._db.attempt(lambda c: c.execute(_LOOK_UP, {"sha256": digest}).one_or_none())
        if row is None:
            raise Unauthenticated("This API key is unknown or has been revoked.")
        return Principal(
            row.account_id, row.key_id, row.storefront, row.plan, AccountStatus(row.status)
        )

    def _remember(self, digest: bytes, now: float, principal: Principal) -> None:
        with self._lock:
            if len(self._seen) >= _CACHE_MAX:
                self._seen = {d: entry for d, entry in self._seen.items() if entry[0] > now}
                if len(self._seen) >= _CACHE_MAX:
                    self._seen.clear()
            self._seen[digest] = (now + self._cache_s, principal)


_COLUMNS = "id, account_id, shown, label, created_at, revoked_at"
_LOOK_UP = text(
    "SELECT k.id AS key_id, a.id AS account_id, a.storefront, a.plan, a.status "
    "FROM api_keys k JOIN accounts a ON a.id = k.account_id "
    "WHERE k.sha256 = :sha256 AND k.revoked_at IS NULL"
)


def _api_key(row: Row[Any]) -> ApiKey:
    return ApiKey(row.id, row.account_id, row.shown, row.label, row.created_at, row.revoked_at)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _checksum(text_: str) -> str:
    number = zlib.crc32(text_.encode())
    digits = []
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
