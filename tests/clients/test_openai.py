"""OpenAI's own clients, unchanged, with the farm's address and a key of PixAPI."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import ImagesResponse
from PIL import Image

from tests.clients.conftest import RunningFarm
from tests.clients.pictures import PRODUCT, SIDE_PX, SMALL, Pictures
from tests.farm.checks import assert_books_balance
from tests.programs import program

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]

NODE_MODULES = Path(sys.prefix) / "clients" / "node-openai" / "node_modules"
NODE_SCRIPT = Path(__file__).with_name("openai.mjs")
PATIENCE_S = 120
SIZE: Any = "256x256"
"""The client's types know OpenAI's own sizes only."""


def client_of(farm: RunningFarm, key: str) -> OpenAI:
    """The client, as a customer would make it. Nothing is tried twice."""
    return OpenAI(api_key=key, base_url=f"{farm.base_url}/v1", max_retries=0)


@pytest.fixture(scope="module")
def client(warm_farm: RunningFarm) -> Iterator[OpenAI]:
    """The client of a customer who affords everything."""
    key = warm_farm.new_key("openai-python", "business", "pixapi")
    with client_of(warm_farm, key) as found:
        yield found


@pytest.fixture(scope="module")
def poor(warm_farm: RunningFarm) -> Iterator[OpenAI]:
    """The client of a customer with 20 credits and 10 submits a minute."""
    with client_of(warm_farm, warm_farm.new_key("openai-poor", "free", "pixapi")) as found:
        yield found


def linked(answer: ImagesResponse) -> list[Image.Image]:
    """The pictures behind the URLs of an answer."""
    pictures = []
    for one in answer.data or []:
        assert one.url is not None
        with urllib.request.urlopen(one.url, timeout=30) as file:
            pictures.append(opened(file.read()))
    return pictures


def opened(data: bytes) -> Image.Image:
    """A picture, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_generate_with_a_url(client: OpenAI) -> None:
    answer = client.images.generate(model="flux-schnell", prompt="a lighthouse", size=SIZE)
    [picture] = linked(answer)
    assert (picture.format, picture.size) == ("PNG", (256, 256))
    assert answer.created > 1_700_000_000
    assert (answer.size, answer.output_format) == ("256x256", "png")
    assert answer.model_extra == {} or set(answer.model_extra or {}) <= {"warnings"}
    assert answer.usage is not None
    assert answer.usage.model_extra == {"credits": 2.0}


def test_generate_three_as_base64(client: OpenAI) -> None:
    answer = client.images.generate(
        model="nano-banana",
        prompt="a lighthouse",
        n=3,
        size=SIZE,
        response_format="b64_json",
        output_format="webp",
        extra_body={"seed": 7},
    )
    files = [base64.b64decode(one.b64_json or "") for one in answer.data or []]
    assert [opened(file).format for file in files] == ["WEBP"] * 3
    assert len(set(files)) == 3


def test_edit_with_a_file_a_list_and_a_mask(client: OpenAI, pictures: Pictures) -> None:
    """The result has the size of the picture, or the one that was asked for."""
    with pictures.path(SMALL).open("rb") as file:
        answer = client.images.edit(model="flux-2", image=file, prompt="in winter", size=SIZE)
    assert [picture.size for picture in linked(answer)] == [(256, 256)]
    with pictures.path(PRODUCT).open("rb") as one, pictures.path(SMALL).open("rb") as other:
        answer = client.images.edit(
            model="flux-2", image=[one, other], prompt="put them together", n=2, size=SIZE
        )
    assert [picture.size for picture in linked(answer)] == [(256, 256)] * 2
    mask = Image.new("RGBA", (SIDE_PX, SIDE_PX), "black")
    mask.paste((0, 0, 0, 0), (140, 130, 180, 170))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    with pictures.path(PRODUCT).open("rb") as file:
        answer = client.images.edit(
            model="remove-object", image=file, mask=buffer.getvalue(), prompt=""
        )
    [after] = linked(answer)
    before = Image.open(pictures.path(PRODUCT)).convert("RGB")
    assert after.size == before.size
    after = after.convert("RGB")
    assert after.getpixel((5, 5)) == before.getpixel((5, 5))
    assert after.getpixel((160, 150)) != before.getpixel((160, 150))


def test_models(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"flux-schnell", "flux-kontext", "gpt-image-2", "veo", "upscale-4x"} <= set(listed)
    one = client.models.retrieve("nano-banana")
    assert (one.id, one.object, one.owned_by) == ("gemini-2.5-flash-image", "model", "google")
    assert one.model_extra is not None
    assert one.model_extra["credits"] == 8.0
    assert one.model_extra["endpoint"] == "/v1/images/generations"


def sentence_of(error: openai.APIStatusError, status: int, word: str) -> str:
    """Our sentence, from where programs and people read it."""
    assert error.status_code == status
    assert error.type == word
    assert isinstance(error.body, dict)
    sentence: str = error.body["message"]
    assert sentence in str(error)
    return sentence


def call_too_often(client: OpenAI) -> None:
    """Send requests that cost nothing, until one is refused for being too many."""
    for _ in range(25):  # a minute may end meanwhile
        with contextlib.suppress(openai.BadRequestError):
            client.images.generate(model="flux-schnell", prompt="a", n=5)


def test_every_refusal_is_the_clients_own_exception(
    warm_farm: RunningFarm, client: OpenAI, poor: OpenAI
) -> None:
    ask = {"model": "flux-schnell", "prompt": "a"}
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.generate(**ask, n=5)  # type: ignore[call-overload]
    sentence = sentence_of(bad.value, 400, "invalid_request_error")
    assert (sentence, bad.value.param) == ("n: must be from 1 to 4, got 5.", "n")
    with (
        client_of(warm_farm, "sk_nobodys") as stranger,
        pytest.raises(openai.AuthenticationError) as unknown,
    ):
        stranger.images.generate(**ask)  # type: ignore[call-overload]
    assert "key" in sentence_of(unknown.value, 401, "authentication_error")
    with pytest.raises(openai.APIStatusError) as dear:
        poor.images.generate(model="gpt-image-2", prompt="a", n=4)
    assert "Required: 48" in sentence_of(dear.value, 402, "insufficient_credits")
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("nothing")
    assert "No such model" in sentence_of(missing.value, 404, "not_found_error")
    with pytest.raises(openai.RateLimitError) as often:
        call_too_often(poor)
    assert "free plan" in sentence_of(often.value, 429, "rate_limit_error")
    assert int(often.value.response.headers["Retry-After"]) >= 1
    assert_books_balance(warm_farm.services)


def test_nodes_client_generates(warm_farm: RunningFarm) -> None:
    node = program("node", "nodejs")
    if not (NODE_MODULES / "openai").is_dir():
        reason = (
            f"{NODE_MODULES}/openai is missing: run `make .venv/dev.stamp` with npm and network"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    key = warm_farm.new_key("openai-node", "business", "pixapi")
    command = [node, NODE_SCRIPT, NODE_MODULES, f"{warm_farm.base_url}/v1", key]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr.decode()
    said = json.loads(done.stdout)
    assert len(set(said["links"])) == 2
    for link in said["links"]:
        with urllib.request.urlopen(link, timeout=30) as file:
            assert opened(file.read()).size == (256, 256)
    assert opened(base64.b64decode(said["inline"])).size == (256, 256)
    status, word, field, message = said["refused"]
    assert (status, word, field) == (400, "invalid_request_error", "n")
    assert "n: must be from 1 to 4, got 5." in message
