"""A worker child in the test's own process: real services, scripted engines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farm.config import Settings
from farm.dispatch import Dispatcher
from farm.events import Announcer, Cancellations
from farm.services import Services
from tasks.child import Child
from tasks.drain import Drain
from tasks.registration import build
from tasks.reporter import Reporter
from tests.tasks.engines import Workshop


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The farm's settings, with short times so that nobody waits long."""
    return settings.model_copy(update={"lease_s": 3.0, "drain_s": 0.5})


@pytest.fixture
def workshop() -> Workshop:
    """Makes the child's engines; say here how they behave."""
    return Workshop()


@pytest.fixture
def child(settings: Settings, services: Services, workshop: Workshop) -> Iterator[Child]:
    """A worker child with scripted engines."""
    celery, _ = build(settings)
    redis_url = services.settings.limits_url
    residency, drain = workshop.residency(), Drain()
    found = Child(
        services,
        residency,
        Dispatcher(celery),
        celery,
        drain,
        Announcer(redis_url),
        Cancellations(redis_url),
        Reporter(services, residency, drain),
    )
    yield found
    found.cancellations.close()
    found.dispatcher.stop()
