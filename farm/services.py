"""One process's collaborators, built once and handed down: no module keeps a global."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from farm.caps import Backlogs
from farm.cards import UPSTREAM_QUEUE
from farm.catalog import Catalog, built_in_catalog, load_catalog
from farm.config import Settings
from farm.db import Database
from farm.moderation import DEFAULT_RULES, PromptPolicy
from farm.offers import Offers
from farm.storage import Storage, open_storage
from farm.upstreams import Upstream, load_upstreams


@dataclass(frozen=True, slots=True)
class Services:
    """What use cases need. Building it opens no connection; using it does."""

    settings: Settings
    catalog: Catalog
    offers: Offers
    db: Database
    storage: Storage
    moderation: PromptPolicy
    upstreams: Mapping[str, Upstream]
    backlogs: Backlogs = field(default_factory=Backlogs)

    @property
    def queues(self) -> tuple[str, ...]:
        """The model queues that somebody has to serve: that of upstreams where there are any."""
        return served_queues(self.catalog, self.upstreams)

    def dispose(self) -> None:
        """Close idle connections."""
        self.db.dispose()


def build_services(settings: Settings) -> Services:
    """Put a process together from its settings.

    Raises:
        SetupError: no database is set, or a file that the settings name is wrong.
    """
    policy = PromptPolicy.from_file(settings.moderation_file or DEFAULT_RULES)
    catalog = open_catalog(settings)
    upstreams = load_upstreams(settings, catalog)
    return Services(
        settings=settings,
        catalog=catalog,
        offers=offers_of(settings, catalog, upstreams),
        db=open_database(settings),
        storage=open_storage(settings),
        moderation=policy,
        upstreams=upstreams,
    )


def offers_of(settings: Settings, catalog: Catalog, upstreams: Mapping[str, Upstream]) -> Offers:
    """What is sold, as far as these settings let it be served."""
    names = {model_id: upstream.told for model_id, upstream in upstreams.items()}
    return Offers(catalog, names, commercial_only=settings.commercial_only)


def served_queues(catalog: Catalog, upstreams: Mapping[str, Upstream]) -> tuple[str, ...]:
    """The model queues, that of upstreams only where there are any."""
    return tuple(queue for queue in catalog.queues if upstreams or queue != UPSTREAM_QUEUE)


def open_catalog(settings: Settings) -> Catalog:
    """The catalogue that the settings name, else the built-in one. Raises SetupError."""
    return load_catalog(settings.catalog) if settings.catalog else built_in_catalog()


def open_database(settings: Settings) -> Database:
    """The database that the settings name. Raises SetupError where there is none."""
    return Database(
        settings.need_database(), pool_size=settings.db_pool_size, timeout_s=settings.db_timeout_s
    )
