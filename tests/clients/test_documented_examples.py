"""Every image call of the documentation, by upload and by URL, from every tool it names."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from tests.clients.conftest import RunningFarm
from tests.clients.pictures import FACE, MASK, MASKED, PRODUCT, SIDE_PX, SMALL, SMALL_PX, Pictures
from tests.clients.tools import TOOLS, Tool
from tests.farm.checks import assert_books_balance

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]

POLL_S = 0.5
PATIENCE_S = 240.0
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

Check = Callable[[Image.Image, Image.Image], None]
"""Looks at the picture that was sent and at what became of it."""


@dataclass(frozen=True)
class Example:
    """One call: what is sent, what is answered, and how the result looks."""

    operation: str
    prefix: str
    credits: float
    picture: str
    check: Check
    fields: Mapping[str, str] = field(default_factory=dict)
    masked: bool = False
    slow: bool = False
    """Then each tool does it one way, and the next tool the other."""


def cut_out(_: Image.Image, after: Image.Image) -> None:
    assert (after.mode, after.size) == ("RGBA", (SIDE_PX, SIDE_PX))
    assert after.getchannel("A").getextrema() == (0, 255)


def another_scene(before: Image.Image, after: Image.Image) -> None:
    assert after.size == before.size
    assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()


def as_large(before: Image.Image, after: Image.Image) -> None:
    assert after.size == before.size


def erased(before: Image.Image, after: Image.Image) -> None:
    changed = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    assert after.size == before.size
    assert changed is not None
    grown = 24
    assert changed[0] >= MASKED[0] - grown
    assert changed[1] >= MASKED[1] - grown


def four_times(_: Image.Image, after: Image.Image) -> None:
    assert after.size == (4 * SMALL_PX[0], 4 * SMALL_PX[1])


EXAMPLES = (
    Example("remove-background", "bg-rm-", 2.0, PRODUCT, cut_out),
    Example("replace-background", "bg-rp-", 5.0, PRODUCT, another_scene, {"prompt": "on a beach"}),
    Example("restore-face", "face-", 3.0, FACE, as_large),
    Example("remove-object", "obj-rm-", 5.0, PRODUCT, erased, masked=True),
    Example("remove-object", "obj-rm-", 5.0, PRODUCT, erased, {"prompt": "the red ball"}),
    Example("upscale", "up-", 20.0, SMALL, four_times, {"scale": "4"}),
)
GENERATE = {"prompt": "a red bicycle", "width": 512, "height": 512, "steps": 1}


class Customer:
    """Somebody with one of the tools, an address and a key."""

    def __init__(self, name: str, tool: Tool, farm: RunningFarm, pictures: Pictures) -> None:
        self.tool = tool
        self.base_url = farm.base_url
        self.key = farm.new_key(name)
        self.pictures = pictures

    def upload(self, example: Example) -> dict[str, Any]:
        """The example with files."""
        files = {"image": self.pictures.path(example.picture)}
        if example.masked:
            files["mask"] = self.pictures.path(MASK)
        return self.tool.upload(self._path(example.operation), self.key, example.fields, files)

    def submit(self, example: Example) -> dict[str, Any]:
        """The example with URLs."""
        body: dict[str, Any] = {"image_url": self.pictures.url(example.picture), **example.fields}
        if "scale" in body:
            body["scale"] = 4
        if example.masked:
            body["mask_url"] = self.pictures.url(MASK)
        return self.tool.submit(self._path(example.operation), self.key, body)

    def finished(self, generation_id: str) -> dict[str, Any]:
        """Poll as the documentation does, until it has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            status = self.tool.get(self._path(generation_id), self.key)
            if status["status"] in ("completed", "failed", "blocked"):
                return status
            time.sleep(POLL_S)
        raise TimeoutError(f"{generation_id} did not end in {PATIENCE_S:g} s")

    def balance(self) -> float:
        """Credits left."""
        url = f"{self.base_url}/v1/account/balance"
        return float(self.tool.get(url, self.key)["credits_remaining"])

    def _path(self, name: str) -> str:
        return f"{self.base_url}/v1/image/{name}"


def assert_submitted(answer: dict[str, Any], example: Example) -> None:
    assert re.fullmatch(example.prefix + UUID, answer["generation_id"])
    assert {k: v for k, v in answer.items() if k != "generation_id"} == {
        "status": "queued",
        "operation": example.operation,
        "credits_used": example.credits,
    }


def assert_completed(status: dict[str, Any], example: Example) -> None:
    assert status["status"] == "completed", status
    assert status["operation"] == example.operation
    assert status["credits_used"] == example.credits
    assert status["processing_ms"] > 0
    assert "error" not in status
    assert status["receipt"]["charged"] == example.credits


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_image_call_of_the_documentation(
    farm_up: RunningFarm, pictures: Pictures, tool: Tool, tmp_path: Path
) -> None:
    customer = Customer(f"documented-{tool.name}", tool, farm_up, pictures)
    before = customer.balance()
    made = tool.submit(f"{farm_up.base_url}/v1/image/generate", customer.key, GENERATE)
    asked: list[tuple[Example, str]] = []
    first = TOOLS.index(tool) % 2
    for example in EXAMPLES:
        ways = (customer.upload, customer.submit)
        for way in ways[first : first + 1] if example.slow else ways:
            answer = way(example)
            assert_submitted(answer, example)
            asked.append((example, answer["generation_id"]))
    for number, (example, generation_id) in enumerate(asked):
        status = customer.finished(generation_id)
        assert_completed(status, example)
        saved = tmp_path / f"{number}.png"
        tool.download(status["output_url"], saved)
        with Image.open(saved) as after, Image.open(pictures.path(example.picture)) as sent:
            assert after.format == "PNG"
            after.load()
            example.check(sent, after)
    assert customer.finished(made["generation_id"])["status"] == "completed"
    spent = 3.0 + sum(example.credits for example, _ in asked)
    assert customer.balance() == before - spent
    assert_books_balance(farm_up.services)


def test_what_cannot_be_fetched_or_is_no_picture_fails_and_costs_nothing(
    farm_up: RunningFarm, pictures: Pictures
) -> None:
    customer = Customer("unfetchable", TOOLS[1], farm_up, pictures)
    (pictures.folder / "page.png").write_text("<html><body>No picture.</body></html>")
    before = customer.balance()
    for name, word in (("nothing.png", "could not be fetched"), ("page.png", "HTML")):
        example = Example("upscale", "up-", 20.0, name, four_times)
        status = customer.finished(customer.submit(example)["generation_id"])
        assert status["status"] == "failed"
        assert word in status["error"]
        assert status["error"] == status["error_message"]
        assert status["credits_used"] == 0.0
    assert customer.balance() == before
