"""The task that sends webhooks: it hears of ends by itself, and stops when its worker does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from farm.config import Settings
from farm.webhooks.endpoints import add_endpoint
from tasks.child import Child
from tasks.webhooks import send_webhooks
from tests import factories
from tests.farm.checks import assert_books_balance
from tests.farm.webhooks.receiver import Receiver, trusting
from tests.processes import wait_until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def settings(settings: Settings, receiver: Receiver) -> Settings:
    return trusting(settings, receiver.trust)


def test_ends_are_told_while_it_runs_and_it_ends_with_its_worker(
    child: Child, receiver: Receiver
) -> None:
    services = child.services
    who = factories.customer(services, plan="pro")
    _, receiver.secrets["/hook"] = add_endpoint(services.db, who.account_id, receiver.url())
    tries: list[int] = []
    thread = threading.Thread(target=lambda: tries.append(send_webhooks(child)))
    thread.start()
    for number in range(1, 3):
        claim = factories.claimed(services, factories.submitted(services, who))
        assert factories.succeed(services, claim)
        wait_until(lambda: len(receiver.types()) == number, 20, "the job's end to be told")  # noqa: B023
    assert send_webhooks(child) == 0, "another one sends already"
    child.drain.begin(0.0)
    thread.join(20)
    assert tries == [2]
    assert_books_balance(services)
