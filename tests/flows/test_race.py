"""Many clients at once on one account: as many jobs as there is credit for, and not one more."""

from __future__ import annotations

import threading
import urllib.error
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm import ledger
from tests.farm.checks import amounts, assert_books_balance, scalar
from tests.flows.whole_farm import FLUX, whole_farm

CLIENTS, AFFORDABLE = 64, 10

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("flows")]


def test_64_clients_race_for_credit_for_ten_jobs(
    tmp_path: Path, postgres_url: str, redis_url: str
) -> None:
    folder = tmp_path / "farm"
    folder.mkdir()
    with whole_farm(folder, postgres_url, redis_url, redis_url, FARM_WEB_WORKERS="2") as farm:
        account = farm.who.account_id
        with farm.services.db.transaction() as connection:
            # A plan whose rate limit does not get in the way, with credit for ten jobs.
            surplus = amounts(farm.services, account)[0] - AFFORDABLE * 30
            ledger.grant(connection, account, -surplus, reason="for the race", kind="adjust")
        farm.start_api()
        start = threading.Barrier(CLIENTS)

        def client(_: int) -> int:
            start.wait(timeout=60)
            try:
                farm.submit(FLUX)
            except urllib.error.HTTPError as error:
                error.close()
                return error.code
            return 200

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = Counter(pool.map(client, range(CLIENTS)))

        assert answers == {200: AFFORDABLE, 402: CLIENTS - AFFORDABLE}
        assert scalar(farm.services, "SELECT count(*) FROM jobs") == AFFORDABLE
        assert amounts(farm.services, account)[:2] == (300, 300)
        assert farm.balance() == 0.0
        assert_books_balance(farm.services)
