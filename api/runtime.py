"""One API process's collaborators, put together once and handed to every route."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

from celery import Celery

from api.limits import RateLimiter
from api.log import AccessLog
from farm.broker import make_celery
from farm.config import Settings
from farm.dispatch import Dispatcher
from farm.keys import KeyRing
from farm.services import Services, build_services
from farm.storage import UrlSigner


@dataclass(frozen=True, slots=True)
class Runtime:
    """What routes call. Building it opens no connection; the first request does."""

    services: Services
    keys: KeyRing
    signer: UrlSigner
    limiter: RateLimiter
    dispatcher: Dispatcher
    celery: Celery
    access_log: AccessLog

    @property
    def settings(self) -> Settings:
        """The settings this process was started with."""
        return self.services.settings

    def close(self) -> None:
        """Send and write what still waits, and close every connection."""
        self.dispatcher.stop()
        self.limiter.close()
        self.services.dispose()
        self.access_log.close()


def new_job_id() -> uuid.UUID:
    """A random (version 4) id. It need not be a secret, another account's job is a 404; so it
    is not from the operating system, whose calls let other threads in between."""
    return uuid.UUID(int=random.getrandbits(128), version=4)


def build_runtime(settings: Settings) -> Runtime:
    """Put an API process together.

    Raises:
        SetupError: a service that the settings should name is missing; the message says which.
    """
    services = build_services(settings)
    celery = make_celery(settings, services.catalog)
    return Runtime(
        services=services,
        keys=KeyRing(services.db, services.catalog, settings.key_cache_s),
        signer=UrlSigner(settings.signing_key()),
        limiter=RateLimiter(settings.limits_url),
        dispatcher=Dispatcher(celery),
        celery=celery,
        access_log=AccessLog(settings.log_level),
    )
