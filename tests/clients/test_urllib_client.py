"""The client that the documentation shows: Python's standard library, a URL and a key."""

from __future__ import annotations

import json
import struct
import time
import urllib.request
from typing import Any

import pytest

from tests.clients.conftest import RunningFarm
from tests.farm.checks import assert_books_balance

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]

POLL_S = 0.5
PATIENCE_S = 240.0


class Client:
    """Balance, generate, poll, download: nothing beyond urllib."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self.key = key

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET, or POST where there is a body; the decoded answer."""
        request = urllib.request.Request(
            self.base_url + path,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def balance(self) -> float:
        """Credits left."""
        return float(self.call("/v1/account/balance")["credits_remaining"])

    def generate(self, prompt: str, **options: Any) -> dict[str, Any]:
        """Submit, poll until the end, and answer with the last status."""
        submitted = self.call("/v1/image/generate", {"prompt": prompt, **options})
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            status: dict[str, Any] = self.call(f"/v1/image/{submitted['generation_id']}")
            if status["status"] in ("completed", "failed", "blocked"):
                return status
            time.sleep(POLL_S)
        raise TimeoutError(f"{submitted} did not end in {PATIENCE_S:g} s")

    def download(self, url: str) -> bytes:
        """The bytes behind an output_url; the link needs no key."""
        with urllib.request.urlopen(url, timeout=30) as response:
            data: bytes = response.read()
            return data


@pytest.mark.parametrize("model", ["flux-schnell", "sdxl"])
def test_a_picture_from_the_documentation(farm_up: RunningFarm, model: str) -> None:
    client = Client(farm_up.base_url, farm_up.new_key(f"urllib-{model}", plan="free"))
    assert client.balance() == 10.0
    status = client.generate("a lighthouse at dusk", model=model, width=512, height=640, seed=3)
    assert status["status"] == "completed", status
    assert status["seed"] == 3
    assert status["credits_used"] == 3.0
    picture = client.download(status["output_url"])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", picture[16:24]) == (512, 640)
    assert client.balance() == 7.0
    usage = client.call("/v1/account/usage?limit=5")
    assert [job["id"] for job in usage["usage"]] == [status["id"]]
    assert_books_balance(farm_up.services)


def test_the_key_that_farm_up_prints_works(farm_up: RunningFarm) -> None:
    assert Client(farm_up.base_url, farm_up.key).balance() > 0


def test_the_whole_farm_says_it_is_ready(farm_up: RunningFarm) -> None:
    assert Client(farm_up.base_url, farm_up.key).call("/readyz")["ready"] is True
