"""Races that somebody must lose: for the last credits, for a job's end, for a job taken over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.services import Services
from tests.faults.figures.races import cancel_against_success, overdraft, zombie_settles
from tests.flows.whole_farm import WholeFarm, whole_farm


@pytest.fixture
def farm(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[WholeFarm]:
    """An API that serves, and no worker."""
    folder = tmp_path / "farm"
    folder.mkdir()
    with whole_farm(folder, postgres_url, redis_url, redis_url, FARM_WEB_WORKERS="2") as found:
        found.start_api()
        yield found


def test_64_clients_race_for_the_last_credits(farm: WholeFarm) -> None:
    found = overdraft(farm.services, f"http://127.0.0.1:{farm.api_port}", rounds=3)
    assert found.accepted + found.refused == 3 * 64
    assert found.accepted > 0
    assert found.below_zero == 0


def test_a_job_that_is_cancelled_while_it_succeeds_ends_one_way(services: Services) -> None:
    found = cancel_against_success(services, rounds=60)
    assert found.succeeded > 0
    assert found.cancelled > 0


def test_an_attempt_that_was_overtaken_has_no_say(services: Services) -> None:
    found = zombie_settles(services, 10)
    assert found.refused == found.words == 70
