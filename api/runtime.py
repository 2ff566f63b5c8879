"""One API process's collaborators, put together once and handed to every route."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from celery import Celery
from flask_limiter import Limiter

from api import limits
from api.daycounts import DayCounts
from api.log import AccessLog
from api.outlook import Outlooks
from api.rates import Leases
from api.typical import TypicalSeconds
from api.waiting.room import WaitingRoom
from farm import views
from farm.broker import make_celery
from farm.config import Settings
from farm.db import Database
from farm.dispatch import Dispatcher
from farm.events import Announcer
from farm.intake.pictures import PictureReader
from farm.intake.urls import FetchPolicy, policy_of
from farm.keys import KeyRing
from farm.outlook import load_outlook
from farm.services import Services, build_services
from farm.storage import UrlSigner

ANSWER_DB_TIMEOUT_S = 2.0
"""Who asks for anything hears within this that the database is away, and keeps a thread no longer;
``FARM_DB_TIMEOUT_S`` may make it shorter."""
ROOM_DB_TIMEOUT_S = 2.0
"""The waiting room does nothing else meanwhile."""
REPORTS_DB_POOL = 2
"""Connections for what is asked over all jobs, once for everybody: a long backlog takes longer."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What routes call. Building it opens no connection; the first request does."""

    services: Services
    keys: KeyRing
    signer: UrlSigner
    limiter: Limiter
    leases: Leases
    days: DayCounts
    dispatcher: Dispatcher
    celery: Celery
    access_log: AccessLog
    pictures: PictureReader
    fetch_policy: FetchPolicy
    typical: TypicalSeconds
    outlooks: Outlooks
    announcer: Announcer
    room: WaitingRoom
    room_db: Database
    reports_db: Database

    @property
    def settings(self) -> Settings:
        """The settings this process was started with."""
        return self.services.settings

    def close(self) -> None:
        """Answer whoever waits, send and write what is left, and close every connection."""
        self.room.close()
        self.announcer.close()
        self.dispatcher.stop()
        limits.close(self.limiter)
        self.services.dispose()
        self.room_db.dispose()
        self.reports_db.dispose()
        self.access_log.close()


def build_runtime(settings: Settings) -> Runtime:
    """Put an API process together.

    Raises:
        SetupError: a service that the settings should name is missing; the message says which.
    """
    hasty_s = min(settings.db_timeout_s, ANSWER_DB_TIMEOUT_S)
    services = replace(
        build_services(settings), db=_database(settings, settings.db_pool_size, hasty_s)
    )
    reports_db = _database(settings, REPORTS_DB_POOL, settings.db_timeout_s)
    celery = make_celery(settings, services.catalog)
    queues = services.catalog.queues
    outlooks = Outlooks(lambda: load_outlook(reports_db, queues, settings.switch_after_s))

    # A connection of its own, which no request can keep it waiting for.
    room_db = _database(settings, 1, ROOM_DB_TIMEOUT_S)

    def look(job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, views.JobView]:
        return views.get_jobs(room_db, job_ids)

    limiter = limits.build_limiter(settings.limits_url)
    return Runtime(
        services=services,
        keys=KeyRing(services.db, services.catalog, settings.key_cache_s),
        signer=UrlSigner(settings.signing_key()),
        limiter=limiter,
        leases=Leases(),
        days=DayCounts(limiter),
        dispatcher=Dispatcher(celery),
        celery=celery,
        access_log=AccessLog(settings.log_level),
        pictures=PictureReader(),
        fetch_policy=policy_of(settings),
        typical=TypicalSeconds(lambda: views.typical_seconds(reports_db)),
        outlooks=outlooks,
        announcer=Announcer(settings.limits_url),
        room=WaitingRoom(settings.limits_url, look, place=outlooks.placed),
        room_db=room_db,
        reports_db=reports_db,
    )


def _database(settings: Settings, pool_size: int, timeout_s: float) -> Database:
    return Database(settings.need_database(), pool_size=pool_size, timeout_s=timeout_s)
