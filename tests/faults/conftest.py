"""One farm for the tests that disturb its servers and its networks; each test leaves it whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm.broker import make_celery
from tests.farm.webhooks.receiver import Receiver
from tests.faults.crashes.lane import Pictures
from tests.faults.trial.crew import crew, crew_of_all  # noqa: F401  # fixtures of two modules
from tests.faults.trial.farm import TrialFarm, customer, trial_farm
from tests.faults.trial.oracle import Oracle
from tests.faults.trial.proxy import Proxy
from tests.faults.trial.wires import KEPT, SOFT_S, Wired


@pytest.fixture(scope="package")
def lasting(servers_folder: Path) -> Iterator[Wired]:
    """The farm of all these tests, and whatever is around it."""
    with contextlib.ExitStack() as stack:
        receiver, pictures = stack.enter_context(Receiver()), stack.enter_context(Pictures())
        to_receiver = stack.enter_context(Proxy(("127.0.0.1", receiver.port)))
        farm = stack.enter_context(
            trial_farm(
                servers_folder / "wires",
                disturbed=True,
                durable=True,
                soft_s=SOFT_S,
                hard_s=30,
                FARM_FETCH_ALLOW=f"{pictures.trust},127.0.0.1:{to_receiver.port}",
            )
        )
        farm.keep(*KEPT)
        celery = make_celery(farm.services.settings, farm.services.catalog)
        assert farm.way is not None
        yield Wired(
            farm, Oracle(farm), receiver, pictures, celery, "api", "sdxl", farm.who,
            way=farm.way, to_receiver=to_receiver,
        )  # fmt: skip


@pytest.fixture
def wired(lasting: Wired) -> Iterator[Wired]:
    """That farm with a customer of this test's own, whose promises are looked at."""
    farm: TrialFarm = lasting.farm
    farm.who = customer(farm.services)
    yield replace(lasting, who=farm.who, oracle=Oracle(farm))
    lasting.heal()
    lasting.forget()
