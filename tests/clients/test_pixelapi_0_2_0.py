"""The published Python client 0.2.0, unchanged, plain and async: every method it has."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import io
import sys
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from tests.clients.conftest import RunningFarm
from tests.clients.pictures import FACE, MASK, PRODUCT, SMALL, SMALL_PX, Pictures

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]

FOLDER = Path(sys.prefix) / "clients" / "pixelapi-0.2.0" / "pixelapi"
PATIENCE_S = 240.0
INSTALL = f"{FOLDER} is missing: run `make .venv/dev.stamp`, or what it does for this client"


@pytest.fixture(scope="module")
def sdk() -> ModuleType:
    """The package, under another name than that of the 0.1.0 which is installed.

    As published it cannot be imported: its modules ask for ``__version__``, which it sets only
    after them. Whoever uses it gives it that name beforehand, as here.
    """
    assert FOLDER.is_dir(), INSTALL
    spec = importlib.util.spec_from_file_location(
        "pixelapi_0_2_0", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    module.__dict__["__version__"] = "0.2.0"
    spec.loader.exec_module(module)
    return module


def _calls(pictures: Pictures) -> dict[str, tuple[dict[str, Any], str, float]]:
    """Each image method: what it is given, how its id begins, and what it costs."""
    product, masked = pictures.url(PRODUCT), pictures.url(MASK)
    return {
        "generate": (
            {"prompt": "a red bicycle", "width": 512, "height": 512, "steps": 1}, "", 3.0),
        "remove_background": ({"image_url": product}, "bg-rm-", 2.0),
        "replace_background": ({"image_url": product, "prompt": "a beach"}, "bg-rp-", 5.0),
        "restore_face": ({"image_url": pictures.url(FACE)}, "face-", 3.0),
        "remove_object": ({"image_url": product, "mask_url": masked}, "obj-rm-", 5.0),
        "upscale": ({"image_url": pictures.url(SMALL)}, "up-", 20.0),
    }  # fmt: skip


def _methods(resource: Any) -> set[str]:
    return {name for name, _ in inspect.getmembers(resource, inspect.ismethod) if name[0] != "_"}


def test_this_is_the_published_version(sdk: ModuleType) -> None:
    assert sdk.__version__ == "0.2.0"


def test_every_image_method(farm_up: RunningFarm, pictures: Pictures, sdk: ModuleType) -> None:
    calls = _calls(pictures)
    with sdk.PixelAPI(farm_up.new_key("sdk2-plain"), base_url=farm_up.base_url) as client:
        assert _methods(client.image) == set(calls)
        asked = {name: getattr(client.image, name)(**call[0]) for name, call in calls.items()}
        for name, generation in asked.items():
            assert generation.status is sdk.GenerationStatus.PENDING, name
            assert generation.id.startswith(calls[name][1])
            assert generation.credits_used == calls[name][2]
        for name, generation in asked.items():
            done = client.generation.wait(generation.id, timeout=PATIENCE_S, poll_interval=0.5)
            assert done.is_complete, name
            assert done.id == generation.id
            assert done.credits_used == calls[name][2]
            with urllib.request.urlopen(done.output_url, timeout=30) as answer:
                picture = Image.open(io.BytesIO(answer.read()))
            if name == "upscale":
                assert picture.size == (4 * SMALL_PX[0], 4 * SMALL_PX[1])
            elif name == "remove_background":
                assert picture.mode == "RGBA"


def test_every_image_method_of_the_async_client(
    farm_up: RunningFarm, pictures: Pictures, sdk: ModuleType
) -> None:
    calls = _calls(pictures)

    async def everything() -> dict[str, Any]:
        async with sdk.AsyncPixelAPI(
            farm_up.new_key("sdk2-async"), base_url=farm_up.base_url
        ) as client:
            assert _methods(client.image) == set(calls)
            asked = {
                name: await getattr(client.image, name)(**call[0]) for name, call in calls.items()
            }
            waits = (
                client.generation.wait(one.id, timeout=PATIENCE_S, poll_interval=0.5)
                for one in asked.values()
            )
            return dict(zip(asked, await asyncio.gather(*waits), strict=True))

    for name, done in asyncio.run(everything()).items():
        assert done.is_complete, name
        assert done.id.startswith(calls[name][1])
        assert done.credits_used == calls[name][2]
        assert done.output_url.startswith(f"{farm_up.base_url}/outputs/images/")


def test_audio_plain_and_async(farm_up: RunningFarm, sdk: ModuleType) -> None:
    def assert_made(asked: Any, done: Any) -> None:
        assert asked.status is sdk.GenerationStatus.PENDING
        assert (asked.model, asked.metadata["duration"]) == ("musicgen-small", 5)
        assert done.is_complete
        assert (done.id, done.credits_used) == (asked.id, 5.0)
        with urllib.request.urlopen(done.output_url, timeout=30) as answer:
            assert answer.headers["Content-Type"] == "audio/wav"
            assert answer.read(4) == b"RIFF"

    with sdk.PixelAPI(farm_up.new_key("sdk2-audio"), base_url=farm_up.base_url) as client:
        asked = client.audio.generate(prompt="slow drums", duration=5)
        assert_made(asked, client.generation.wait(asked.id, timeout=PATIENCE_S, poll_interval=0.5))

    async def generated() -> tuple[Any, Any]:
        async with sdk.AsyncPixelAPI(
            farm_up.new_key("sdk2-audio-async"), base_url=farm_up.base_url
        ) as client:
            asked = await client.audio.generate(prompt="fast drums", duration=5)
            wait = client.generation.wait(asked.id, timeout=PATIENCE_S, poll_interval=0.5)
            return asked, await wait

    assert_made(*asyncio.run(generated()))


def test_errors_become_the_clients_own(
    farm_up: RunningFarm, pictures: Pictures, sdk: ModuleType
) -> None:
    with (
        sdk.PixelAPI("pk_live_wrong", base_url=farm_up.base_url) as stranger,
        pytest.raises(sdk.AuthenticationError, match="not a valid API key"),
    ):
        stranger.image.upscale(image_url=pictures.url(SMALL))
    key = farm_up.new_key("sdk2-errors", plan="free")
    with sdk.PixelAPI(key, base_url=farm_up.base_url) as client:
        with pytest.raises(sdk.ValidationError, match="image_url") as wrong:
            client.image.remove_background(image_url="http://10.0.0.1/shoe.png")
        assert wrong.value.body["errors"][0]["field"] == "image_url"
        with pytest.raises(sdk.InsufficientCreditsError, match="Required: 20, available: 10"):
            client.image.upscale(image_url=pictures.url(SMALL))
        with pytest.raises(sdk.NotFoundError):
            client.generation.get("bg-rm-00000000-0000-4000-8000-000000000000")
        nothing = client.image.remove_background(image_url=pictures.url("nothing.png"))
        with pytest.raises(sdk.PixelAPIError, match="could not be fetched"):
            client.generation.wait(nothing.id, timeout=PATIENCE_S, poll_interval=0.5)
        blocked = client.image.replace_background(
            image_url=pictures.url(PRODUCT), prompt="revenge porn"
        )
        assert blocked.is_failed
        with pytest.raises(sdk.PixelAPIError, match="content policy"):
            client.generation.wait(blocked.id)
        with pytest.raises(sdk.ValidationError, match="scale"):
            client.image.upscale(image_url=pictures.url(SMALL), scale=2)
        with pytest.raises(sdk.RateLimitError, match="free plan") as often:
            client.image.upscale(image_url=pictures.url(SMALL))
        assert often.value.retry_after > 0
