"""Pixza is a storefront like every other."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from farm.types import JobState
from tests.api.caller import Caller
from tests.contracts.storefront import StorefrontContract

BASE = "/pixza/api/v1"
BODY = {"type": "image", "prompt": "a red circle"}
WORDS = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.BLOCKED: "blocked",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}
PROBLEMS = {
    "unauthenticated": (401, "unauthorized"),
    "insufficient_credits": (402, "insufficient_credits"),
    "not_found": (404, "not_found"),
    "rate_limited": (429, "rate_limited"),
    "malformed": (422, "validation_error"),
    "invalid_request": (422, "validation_error"),
    "idempotency_mismatch": (422, "validation_error"),
}
URL = "https://example.com/a.jpg"


def wrong(word: str, **fields: Any) -> tuple[dict[str, Any], str]:
    """A body that is good but for these fields, and a word about it."""
    return ({**BODY, **fields}, word)


class TestPixza(StorefrontContract):
    """Its errors have a word and a sentence."""

    storefront = "pixza"
    plan = "agency"
    submit_path = f"{BASE}/generate"
    body = BODY
    price = 1.0
    poll_path = f"{BASE}/generate/{{id}}"
    private_paths = (("GET", f"{BASE}/generations"), ("GET", f"{BASE}/credits"))
    words = WORDS
    problems = PROBLEMS
    bad_bodies = (
        ({}, "type: is required"),
        ({"prompt": "a"}, "image, video, 3d"),
        wrong("'audio'", type="audio"),
        wrong("not a list", type=["image"]),
        wrong("prompt", prompt=""),
        wrong("prompt", prompt=" \t"),
        wrong("prompt", prompt="a" * 2001),
        wrong("prompt", prompt="a" * 2001, model="flux-pro"),
        wrong("prompt", prompt=None),
        wrong("prompt", prompt=7),
        wrong("flux-schnell, flux-dev", model="nothing"),
        wrong("not a model here", model="sdxl"),
        wrong("not a model here", model="x" * 5000),
        wrong("model", model=7),
        wrong("it makes video", model="wan2.1"),
        wrong("it makes 3d", model="shap-e"),
        wrong("it makes image", model="flux-schnell", type="video"),
        wrong("wan2.1, wan-i2v, veo-3-fast", model="shap-e", type="video"),
        wrong("input_image: is required by wan-i2v", model="wan-i2v", type="video"),
        wrong("input_image: is required by flux-kontext", model="flux-kontext"),
        wrong("flux-schnell, flux-kontext", model="flux-dev", input_image=URL),
        wrong("wan-i2v, veo-3-fast", model="wan2.1", type="video", input_image=URL),
        wrong("from words alone", type="3d", input_image=URL),
        wrong("input_image", input_image=""),
        wrong("input_image", input_image=7),
        wrong("input_image", input_image="a.jpg"),
        wrong("input_image", input_image="file:///etc/passwd"),
        wrong("input_image", input_image="http://127.0.0.1/a.jpg"),
        wrong("width", width=255),
        wrong("height", height=2049),
        wrong("width", width="1024"),
        wrong("width", width=1024.5),
        wrong("steps", steps=0),
        wrong("steps", steps=9),
        wrong("seed", seed=-1),
        wrong("seed", seed=2**32),
        wrong("webhook_url", webhook_url="nowhere"),
        wrong("webhook_url", webhook_url="https://10.0.0.1/"),
    )

    def id_of(self, answer: Any) -> str:
        return str(answer["id"])

    def status_of(self, answer: Any) -> str:
        return str(answer["status"])

    def output_of(self, answer: Any) -> str | None:
        link: str | None = answer["output_url"]
        return link

    def problem_of(self, answer: Any) -> tuple[str | None, str]:
        needed = {"error", "message"}
        if answer["error"] == "insufficient_credits":
            needed.add("credits_remaining")
        assert set(answer) == needed
        return answer["error"], answer["message"]

    def check_refused(self, caller: Caller, response: TestResponse) -> None:
        assert response.status_code == 200
        assert (response.json["status"], response.json["credits_used"]) == ("blocked", 0)

    def check_standing(self, caller: Caller, credits: float) -> None:
        answer = caller.get(f"{BASE}/credits").json
        assert answer == {
            "credits_remaining": credits,
            "plan": caller.customer.principal.plan,
        }
