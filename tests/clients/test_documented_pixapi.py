"""PixAPI's documented bodies, from every tool and language that its documentation names."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.clients.conftest import RunningFarm
from tests.clients.pictures import SMALL, Pictures
from tests.clients.raw import WIRES, Wire
from tests.clients.tools import TOOLS, Tool

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]

SIDE = 256
WORDS = {"model": "flux-schnell", "prompt": "a lighthouse", "size": f"{SIDE}x{SIDE}"}
CHANGE = {"model": "remove-background", "prompt": "the product alone"}
POLL_S, PATIENCE_S = 0.25, 120.0


def check_images(answer: dict[str, Any], count: int, credits: float) -> None:
    """A synchronous answer, as documented."""
    assert set(answer) == {"created", "data", "size", "quality", "output_format", "usage"}
    assert len(answer["data"]) == count
    assert all(set(one) in ({"url"}, {"b64_json"}) for one in answer["data"])
    assert answer["usage"] == {"credits": credits}
    assert answer["output_format"] == "png"


def polled(tool: Tool, base: str, key: str, task: dict[str, Any]) -> dict[str, Any]:
    """The task once it has ended."""
    assert set(task) == {"id", "object", "status", "progress", "model", "created"}
    assert (task["object"], task["status"], task["progress"]) == ("task", "submitted", 0)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = tool.get(f"{base}/v1/tasks/{task['id']}", key)
        if found["status"] not in ("submitted", "processing"):
            return found
        time.sleep(POLL_S)
    raise TimeoutError(f"{task['id']} did not end in {PATIENCE_S:g} s")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool(warm_farm: RunningFarm, pictures: Pictures, tool: Tool, tmp_path: Path) -> None:
    base, key = warm_farm.base_url, warm_farm.new_key(f"pixapi-{tool.name}", "business", "pixapi")
    answer = tool.submit(f"{base}/v1/images/generations", key, {**WORDS, "n": 2})
    check_images(answer, 2, 4.0)
    tool.download(answer["data"][1]["url"], tmp_path / "made.png")
    with Image.open(tmp_path / "made.png") as made:
        assert (made.size, answer["size"]) == ((SIDE, SIDE), f"{SIDE}x{SIDE}")
    image = {"image": pictures.path(SMALL)}
    check_images(tool.upload(f"{base}/v1/images/edits", key, CHANGE, image), 1, 2.0)
    body = {**CHANGE, "image": pictures.url(SMALL)}
    done = polled(tool, base, key, tool.submit(f"{base}/v1/async/images/edits", key, body))
    assert (done["status"], done["progress"], len(done["data"])) == ("completed", 100, 1)
    assert done["served_by"] == "grabcut"
    assert done["error"] is None


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_every_language(warm_farm: RunningFarm, pictures: Pictures, wire: Wire) -> None:
    base, key = warm_farm.base_url, warm_farm.new_key(f"pixapi-{wire.name}", "business", "pixapi")
    body = {**WORDS, "response_format": "b64_json"}
    status, answer = wire.submit(f"{base}/v1/images/generations", key, body)
    assert status == 200, answer
    check_images(answer, 1, 2.0)
    with Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))) as made:
        assert made.size == (SIDE, SIDE)
    file = (SMALL, pictures.path(SMALL).read_bytes())
    status, answer = wire.upload(f"{base}/v1/images/edits", key, [*CHANGE.items(), ("image", file)])
    assert status == 200, answer
    check_images(answer, 1, 2.0)
    film = {"model": "veo", "prompt": "waves", "seconds": "1", "size": "480p"}
    status, task = wire.submit(f"{base}/v1/async/videos/generations", key, film)
    assert (status, task["model"], task["status"]) == (200, "veo", "submitted")
    status, task = wire.submit(f"{base}/v1/jobs/{task['id']}/cancel", key, {})
    assert (status, task["status"], task["usage"]) == (200, "cancelled", {"credits": 0.0})
    status, problem = wire.submit(f"{base}/v1/images/generations", key, {**WORDS, "n": 0})
    assert (status, problem["error"]["param"]) == (400, "n")
