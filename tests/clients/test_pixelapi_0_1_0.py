"""The published Python client, unchanged: only its base URL and key are ours."""

from __future__ import annotations

import io
import urllib.request
from typing import Any

import pixelapi
import pytest
from PIL import Image
from pixelapi.image import ImageClient

from tests.clients.conftest import RunningFarm
from tests.clients.pictures import SMALL, SMALL_PX, Pictures

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


class _Bridge:
    """What ``ImageClient`` of this version expects of a client: ``json=`` for the body.

    Its own client names it ``body``, so that the two do not fit together as published.
    """

    def __init__(self, client: pixelapi.PixelAPI) -> None:
        self._client = client

    def _request(self, method: str, path: str, json: dict[str, Any] | None = None) -> Any:
        return self._client._request(method, path, json)


def test_the_image_client_upscales_and_polls_at_its_own_path(
    farm_up: RunningFarm, pictures: Pictures
) -> None:
    client = _client(farm_up, "sdk-upscale")
    images = ImageClient(_Bridge(client))  # type: ignore[arg-type]
    asked = images.upscale(pictures.url(SMALL), wait=False)
    assert asked.status == "queued"
    assert asked.id.startswith("up-")
    result = images.upscale(pictures.url(SMALL), poll_interval=0.5)
    assert (result.status, result.credits_used) == ("completed", 20.0)
    assert result.url is not None
    with urllib.request.urlopen(result.url, timeout=30) as response:
        picture = Image.open(io.BytesIO(response.read()))
    assert picture.size == (4 * SMALL_PX[0], 4 * SMALL_PX[1])
    again = images.get_upscale(result.id)
    assert (again.id, again.status) == (result.id, "completed")
    made = images.generate("a red bicycle", width=512, height=512, poll_interval=0.5)
    assert images.get(made.id).status == made.status == "completed"
