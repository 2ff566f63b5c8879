"""What the storefronts beside the first one sell, once each: how it is asked for, and its price."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.clients.pictures import SMALL, Pictures
from tests.factories import Customer
from tests.flows.whole_farm import WholeFarm

TIMEOUT_S = 60
_URL = re.compile(r'"(https?://[^"]+/outputs/[^"]+)"')


@dataclass(frozen=True)
class Order:
    """One request: where, for what, for how much in all, and how many files come of it.

    ``picture`` is the field that takes the URL of a picture.
    """

    path: str
    body: Mapping[str, Any]
    credits: float
    files: int = 1
    begins: bytes = b"\x89PNG"
    picture: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def submit(self, farm: WholeFarm, who: Customer, pictures: Pictures, **more: str) -> str:
        """Ask for it; the id that the storefront gave."""
        body = {**self.body, **more}
        if self.picture:
            body[self.picture] = pictures.url(SMALL)
        answer = requests.post(
            f"http://127.0.0.1:{farm.api_port}{self.path}",
            json=body,
            headers={**bearer(who), **self.headers},
            timeout=TIMEOUT_S,
        )
        assert answer.status_code == 200, (self.path, answer.text)
        said = answer.json()
        return str(said.get("id") or said["batchId"])

    def ended(self, farm: WholeFarm, who: Customer, order_id: str) -> dict[str, Any]:
        """Its object, in the storefront's words, once it has ended; the farm is asked to wait."""
        answer = requests.get(
            f"http://127.0.0.1:{farm.api_port}/v1/jobs/{order_id}?wait=60",
            headers=bearer(who),
            timeout=2 * TIMEOUT_S,
        )
        assert answer.status_code == 200, (self.path, answer.text)
        found: dict[str, Any] = answer.json()
        assert found["status"] in ("completed", "complete"), (found, farm.logs())
        return found


def bearer(who: Customer) -> dict[str, str]:
    """The header that says who asks."""
    return {"Authorization": f"Bearer {who.key}"}


def contents(text: str) -> list[bytes]:
    """The files that an object's JSON tells of."""
    urls = dict.fromkeys(_URL.findall(text))
    return [requests.get(url, timeout=TIMEOUT_S).content for url in urls]


_MP4, _GLB = b"\0\0\0", b"glTF"
_WORDS = {"prompt": "a red circle"}
_SMALL = {**_WORDS, "width": 256, "height": 256}
_LATER = {"Prefer": "respond-async"}

ORDERS: Mapping[str, Mapping[str, Order]] = {
    "pixapi": {
        "images": Order(
            "/v1/async/images/generations",
            {"model": "flux-schnell", "size": "256x256", "n": 2, **_WORDS},
            4.0,
            files=2,
        ),
        "edit": Order(
            "/v1/async/images/edits", {"model": "flux-kontext", **_WORDS}, 4.0, picture="image"
        ),
        "video": Order(
            "/v1/async/videos/generations",
            {"model": "wan2.1", "seconds": 1, "resolution": "480p", **_WORDS},
            50.0,
            begins=_MP4,
        ),
    },
    "pixola": {
        "images": Order(
            "/pixola/api/v1/generate",
            {"count": 2, "style": "watercolor", "shape": "square-small", **_WORDS},
            2.0,
            files=2,
        ),
    },
    "pixza": {
        "image": Order("/pixza/api/v1/generate", {"type": "image", **_SMALL}, 1.0, headers=_LATER),
        "film of a picture": Order(
            "/pixza/api/v1/generate",
            {"type": "video", "model": "wan-i2v", **_WORDS},
            20.0,
            begins=_MP4,
            picture="input_image",
        ),
        "3d": Order("/pixza/api/v1/generate", {"type": "3d", **_WORDS}, 5.0, begins=_GLB),
    },
}
PLANS: Mapping[str, str] = {"pixapi": "business", "pixola": "studio", "pixza": "agency"}


def prices_seen(farm: WholeFarm, who: Customer) -> Mapping[str, float]:
    """What the account is told that each model costs at least."""
    url = f"http://127.0.0.1:{farm.api_port}/v1/models"
    answer = requests.get(url, headers=bearer(who), timeout=TIMEOUT_S).json()
    return {model["id"]: model["credits"] for model in answer["data"]}


def total(orders: Sequence[Order]) -> float:
    """What they cost together."""
    return sum(order.credits for order in orders)
