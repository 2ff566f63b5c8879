"""The published Python client, unchanged: only its base URL and key are ours."""

from __future__ import annotations

import urllib.request

import pixelapi
import pytest

from tests.clients.conftest import RunningFarm

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]


def _client(farm: RunningFarm, name: str, plan: str = "starter") -> pixelapi.PixelAPI:
    return pixelapi.PixelAPI(farm.new_key(name, plan), base_url=farm.base_url)


def test_this_is_the_published_version() -> None:
    assert pixelapi.__version__ == "0.1.0"


def test_generate_waits_for_the_picture(farm_up: RunningFarm) -> None:
    client = _client(farm_up, "sdk-generate")
    before = client.get_balance()["credits_remaining"]
    result = client.generate("a red bicycle", model="flux-schnell", max_wait=240.0)
    assert result["status"] == "completed"
    assert result["credits_used"] == 3.0
    assert result["processing_ms"] > 0
    with urllib.request.urlopen(result["output_url"], timeout=30) as response:
        assert response.headers["Content-Type"] == "image/png"
        assert response.read(8) == b"\x89PNG\r\n\x1a\n"
    assert client.get_balance()["credits_remaining"] == before - 3.0
    assert client.get_usage(limit=1)["usage"][0]["prompt"] == "a red bicycle"


def test_every_option_is_passed_on(farm_up: RunningFarm) -> None:
    client = _client(farm_up, "sdk-options")
    result = client.generate(
        "a red bicycle",
        model="sdxl",
        width=512,
        height=512,
        steps=20,
        guidance_scale=5.0,
        seed=11,
        negative_prompt="blur",
        wait=False,
    )
    assert result["status"] == "queued"
    status = client.get_generation(result["generation_id"])
    assert status["seed"] == 11
    assert "warnings" not in status


def test_the_other_calls(farm_up: RunningFarm) -> None:
    client = _client(farm_up, "sdk-others")
    models = {model["id"]: model for model in client.get_models()["data"]}
    assert models["flux-schnell"]["credits"] == 3.0
    assert client.get_usage()["usage"] == []


def test_errors_become_the_clients_own(farm_up: RunningFarm) -> None:
    with pytest.raises(pixelapi.AuthError, match="not a valid API key"):
        pixelapi.PixelAPI("pk_live_wrong", base_url=farm_up.base_url).get_balance()
    client = _client(farm_up, "sdk-errors", plan="free")
    with pytest.raises(pixelapi.PixelAPIError, match="width"):
        client.generate("a", width=64, wait=False)
    for _ in range(3):
        client.generate("a", width=512, height=512, wait=False)
    with pytest.raises(pixelapi.InsufficientCredits, match="Required: 3, available: 1"):
        client.generate("a", wait=False)
    with pytest.raises(pixelapi.RateLimitError, match="free plan"):
        client.generate("a", wait=False)


def test_a_blocked_prompt_is_the_clients_safety_error(farm_up: RunningFarm) -> None:
    client = _client(farm_up, "sdk-blocked")
    with pytest.raises(pixelapi.SafetyBlockError, match="content policy"):
        client.generate("revenge porn", poll_interval=0.1)
    assert client.get_balance()["credits_remaining"] == 10_000.0
