"""The storefront's own document, held against a running API by schemathesis."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.storefronts.pixelapi.ids import PREFIXES
from tests.api import schema
from tests.farm.checks import assert_books_balance

pytestmark = pytest.mark.timeout(300)


def test_nothing_is_answered_outside_the_document(
    tmp_path: Path, postgres_url: str, redis_url: str
) -> None:
    folder = tmp_path / "farm"
    folder.mkdir()
    with schema.own_api(folder, postgres_url, redis_url) as (farm, target):
        for key in target.keys:
            target.submit_examples(key)
        # Calls without a key are limited by address: a few for each path, and no more.
        keyless = ("--phases", "fuzzing", "--max-examples", "1", "--checks", "ignored_auth")
        done = schema.run(target, folder, *keyless)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        keyed = ("--max-examples", "6", "--exclude-checks", "ignored_auth")
        done = schema.run(target, folder, *keyed)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert "34 selected / 34 total" in done.stdout
        for key in target.keys:
            kinds = {job.get("operation") or job["model"] for job in target.jobs(key)}
            assert kinds >= {"sdxl", "musicgen-small", "wan2.1", "try-on", *PREFIXES}
        assert schema.strangers_in(target) == []
        assert_books_balance(farm.services)
