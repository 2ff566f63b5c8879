"""Each storefront's own document, held against a running API by schemathesis."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.storefronts import DIALECTS
from api.storefronts.pixelapi.ids import PREFIXES
from farm.embedded import start_redis
from tests.api import schema
from tests.api.schema import Target
from tests.farm.checks import assert_books_balance
from tests.flows.whole_farm import WholeFarm
from tests.services import Databases

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("schema")]

FIRST = "pixelapi"
"""In its document the paths that all of them share are looked at closely."""


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases
) -> Iterator[tuple[WholeFarm, Callable[[str], Target]]]:
    """One API for all of them, with a Redis that no other test empties."""
    folder = tmp_path_factory.mktemp("schema")
    with (
        start_redis(folder / "redis") as redis,
        databases.fresh() as url,
        schema.own_api(folder, url, redis.url) as made,
    ):
        yield made


@pytest.mark.parametrize("storefront", [dialect.id for dialect in DIALECTS])
def test_nothing_is_answered_outside_the_document(
    api: tuple[WholeFarm, Callable[[str], Target]], tmp_path: Path, storefront: str
) -> None:
    farm, customers_of = api
    target = customers_of(storefront)
    for key in target.keys:
        target.submit_examples(key)
    if storefront == FIRST:
        # Calls without a key are limited by address: a few for each path, and no more.
        keyless = ("--phases", "fuzzing", "--max-examples", "1", "--checks", "ignored_auth")
        done = schema.run(target, tmp_path, *keyless)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        keyed = ("--max-examples", "6", "--exclude-checks", "ignored_auth")
        done = schema.run(target, tmp_path, *keyed)
    else:
        done = schema.run(target, tmp_path, "--max-examples", "2", shared=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    selected = re.search(r"(\d+) selected / (\d+) total", done.stdout)
    assert selected is not None, done.stdout
    assert selected[1] == selected[2], done.stdout
    if storefront == FIRST:
        for key in target.keys:
            kinds = {job.get("operation") or job["model"] for job in target.jobs(key)}
            assert kinds >= {"sdxl", "musicgen-small", "wan2.1", "try-on", *PREFIXES}
    assert schema.strangers_in(target) == []
    assert_books_balance(farm.services)
