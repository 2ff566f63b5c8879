"""A receiver, a server that misbehaves, and a customer who has one endpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farm.config import Settings
from farm.services import Services
from farm.webhooks.endpoints import Endpoint
from tests import factories
from tests.factories import Customer
from tests.farm.intake.hostile_server import HostileServer
from tests.farm.webhooks.arranging import added
from tests.farm.webhooks.receiver import Receiver, trusting


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def hostile() -> Iterator[HostileServer]:
    with HostileServer() as found:
        yield found


@pytest.fixture
def settings(settings: Settings, receiver: Receiver, hostile: HostileServer) -> Settings:
    return trusting(settings, receiver.trust, hostile.trust)


@pytest.fixture
def who(services: Services) -> Customer:
    return factories.customer(services, plan="pro")


@pytest.fixture
def endpoint(services: Services, who: Customer, receiver: Receiver) -> Endpoint:
    return added(services, who, receiver)
