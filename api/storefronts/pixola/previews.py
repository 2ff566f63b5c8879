"""The styles' preview pictures: which there are, and where the world finds them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from api.log import get_logger
from farm.errors import StorageUnavailable
from farm.previews import made_previews
from farm.storage import Storage

LOOK_EVERY_S = 5.0

_log = get_logger("api.pixola")


class Previews:
    """URLs of the previews that are there, looked up every few seconds at most. Thread-safe.

    Args:
        path: where the pictures are served, ``…/styles``, with the host that customers see.
    """

    def __init__(
        self, storage: Storage, path: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage = storage
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._urls: Mapping[str, str] = {}

    def urls(self) -> Mapping[str, str]:
        """By the style's id. A picture that was made anew has another URL, so that caches do
        not keep the old one. While the storage is away, what was known last."""
        with self._lock:
            if self._clock() - self._looked_at >= LOOK_EVERY_S:
                self._looked_at = self._clock()
                try:
                    self._urls = self._look()
                except StorageUnavailable as error:
                    _log.warning("the previews cannot be listed", error=str(error))
            return self._urls

    def _look(self) -> dict[str, str]:
        made = made_previews(self._storage)
        return {
            style: f"{self._path}/{style}/preview.webp?v={int(at)}" for style, at in made.items()
        }
