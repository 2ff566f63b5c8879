"""Endpoints and ended jobs, and what became of their messages."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from farm.services import Services
from farm.submit import submit
from farm.webhooks import deliveries, endpoints
from farm.webhooks.deliveries import Delivery
from farm.webhooks.endpoints import Endpoint
from tests import factories
from tests.factories import Customer
from tests.farm.webhooks.receiver import Receiver


def added(
    services: Services, who: Customer, receiver: Receiver, path: str = "/hook", **more: Any
) -> Endpoint:
    """An endpoint at the receiver, which knows its secret."""
    url = receiver.url(path)
    found, secret = endpoints.add_endpoint(services.db, who.account_id, url, **more)
    receiver.secrets[path] = secret
    return found


def ended(services: Services, who: Customer, url: str | None = None) -> uuid.UUID:
    """A job that succeeded."""
    request = replace(factories.request(), webhook_url=url)
    job_id = submit(services, who.principal, request).job_id
    assert factories.succeed(services, factories.claimed(services, job_id))
    return job_id


def listed(services: Services, who: Customer, endpoint: Endpoint | None) -> list[Delivery]:
    of = endpoint.id if endpoint else None
    return deliveries.list_deliveries(services.db, who.account_id, of, limit=100)
