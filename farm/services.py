"""One process's collaborators, built once and handed down: no module keeps a global."""

from __future__ import annotations

from dataclasses import dataclass

from farm.catalog import Catalog, built_in_catalog, load_catalog
from farm.config import Settings
from farm.db import Database
from farm.moderation import DEFAULT_RULES, PromptPolicy
from farm.offers import Offers
from farm.storage import Storage, open_storage


@dataclass(frozen=True, slots=True)
class Services:
    """What use cases need. Building it opens no connection; using it does."""

    settings: Settings
    catalog: Catalog
    offers: Offers
    db: Database
    storage: Storage
    moderation: PromptPolicy

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
    return Services(
        settings=settings,
        catalog=catalog,
        offers=Offers(catalog, commercial_only=settings.commercial_only),
        db=open_database(settings),
        storage=open_storage(settings),
        moderation=policy,
    )


def open_catalog(settings: Settings) -> Catalog:
    """The catalogue that the settings name, else the built-in one. Raises SetupError."""
    return load_catalog(settings.catalog) if settings.catalog else built_in_catalog()


def open_database(settings: Settings) -> Database:
    """The database that the settings name. Raises SetupError where there is none."""
    return Database(
        settings.need_database(), pool_size=settings.db_pool_size, timeout_s=settings.db_timeout_s
    )
